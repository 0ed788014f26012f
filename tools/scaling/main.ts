import { fork } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Command, Option } from 'commander'
import { type Curve, type CurveOptions, plotCurves } from 'onnx-ire/node'
import { machine } from '../bench/machine.js'
import { updateCost } from '../bench/update.js'
import { graphSizes, stepCurves, updateSizes } from './curves.js'

/** `npm run scaling`: how time and memory of training grow; writes RESULTS.md and its plots. */
const names = [...stepCurves.map(({ name }) => name), 'update', 'graph']
const program = new Command('scaling')
  .description(
    'Measure time and memory of a training step against batch, width, depth and context, of an update against parameters, and of building graphs against nodes.',
  )
  .addOption(
    new Option('--only <curves>', `of ${names.join(', ')}; nothing is written`).argParser((text) => text.split(',')),
  )
  .addHelpText(
    'after',
    '\nEach point of a step runs in a process of its own; all take about seven minutes on two cores.\n\nExamples:\n  npm run scaling\n  npm run scaling -- --only context,update',
  )
  .parse()
const { only } = program.opts<{ only?: readonly string[] }>()
const unknown = only?.find((name) => !names.includes(name))
if (unknown !== undefined) program.error(`error: '${unknown}' is not a curve; they are ${names.join(', ')}`)
const wanted = (name: string) => only?.includes(name) ?? true

interface Step {
  readonly milliseconds: number
  readonly peak: number
  readonly parameters: number
  readonly flops: number | null
}

const folder = fileURLToPath(new URL('plots/', import.meta.url))
mkdirSync(folder, { recursive: true })
const facts = machine()
const { flops: peakFlops, bytes: bandwidth } = await measure<{ flops: number; bytes: number }>('peak', {})
const parts = [
  '# How time and memory grow',
  `Written by \`npm run scaling\` on ${facts.cpu}, ${facts.cores} cores, ${facts.memoryGB} GB, ${facts.system}, Node ${facts.node}; load ${facts.load[0]} before; ${new Date().toISOString().slice(0, 10)}. Each point of a step is a process of its own. Time is the shortest of at least four steps (forward, backward, AdamW): other load only adds to it. They run on ${availableParallelism()} threads. Memory is the peak of the process.`,
  `This machine's limits: the fastest product of matrices of 512 to 2048 rows and columns reaches ${giga(peakFlops)} GFLOP/s in onnxruntime, and a copy in memory ${giga(bandwidth)} GB/s (bytes read and written). "Of peak" is the step's arithmetic (\`inspect\`) by its time and that rate. Convolutions by Winograd's tiles need fewer operations than are counted.`,
]

for (const { name, title, axis, values, point } of stepCurves) {
  if (!wanted(name)) continue
  const results: (Step & { value: number; batch: number })[] = []
  for (const value of values) {
    const options = point(value)
    results.push({ value, batch: options.batch, ...(await measure<Step>('step', options)) })
    console.error(`${title}: ${axis} ${value}: ${results.at(-1)!.milliseconds.toFixed(1)} ms`)
  }
  await plot(`${name}-time`, [['ms per step', results.map(({ value, milliseconds }) => [value, milliseconds])]], {
    title,
    x: axis,
    y: 'ms per step',
  })
  await plot(`${name}-memory`, [['peak MB', results.map(({ value, peak }) => [value, peak / 1e6])]], {
    title,
    x: axis,
    y: 'peak memory, MB',
  })
  parts.push(
    [
      `## ${title}`,
      '',
      `| ${axis} | parameters | ms per step | GFLOP per step | of peak | peak memory, MB |`,
      '|---|---|---|---|---|---|',
      ...results.map(({ value, batch, parameters, milliseconds, flops, peak }) => {
        const work = flops === null ? null : flops * batch
        const share = work === null ? '' : `${((100 * work) / (milliseconds / 1000) / peakFlops).toFixed(0)} %`
        return `| ${value} | ${(parameters / 1e6).toFixed(2)} M | ${milliseconds.toFixed(1)} | ${work === null ? '' : (work / 1e9).toFixed(2)} | ${share} | ${(peak / 1e6).toFixed(0)} |`
      }),
      '',
      `![time](plots/${name}-time.svg) ![memory](plots/${name}-memory.svg)`,
    ].join('\n'),
  )
}

if (wanted('update')) {
  const results: { parameters: number; adamw: number; ire: number; refresh: number }[] = []
  for (const parameters of updateSizes) {
    const { adamw, ire, refresh } = await updateCost(parameters, 7, availableParallelism())
    results.push({ parameters, adamw: adamw.median, ire: ire.median, refresh: refresh.median })
    console.error(`update of ${parameters} parameters: ${results.at(-1)!.adamw.toFixed(2)} ns per parameter`)
  }
  const curve = (name: string, of: (result: (typeof results)[number]) => number): [string, [number, number][]] => [
    name,
    results.map((result) => [result.parameters, of(result)]),
  ]
  await plot(
    'update',
    [
      curve('AdamW', ({ adamw }) => adamw),
      curve('with IRE', ({ ire }) => ire),
      curve('with IRE, refreshing the mask', ({ refresh }) => refresh),
    ],
    { title: 'Update alone', x: 'parameters', y: 'ns per parameter' },
  )
  // AdamW reads the gradient, and reads and writes the parameter and both moments: 28 bytes.
  const bytesPerParameter = 28
  parts.push(
    [
      '## Update alone',
      '',
      `AdamW reads the gradient, and reads and writes the parameter and two moments: ${bytesPerParameter} bytes per parameter. In the memory and the threads of a trainer; the bandwidth is that of a copy in one thread.`,
      '',
      '| parameters | AdamW, ns per parameter | of the bandwidth of a copy | with IRE | refreshing the mask |',
      '|---|---|---|---|---|',
      ...results.map(
        ({ parameters, adamw, ire, refresh }) =>
          `| ${(parameters / 1e6).toFixed(1)} M | ${adamw.toFixed(2)} | ${((100 * bytesPerParameter) / (adamw * 1e-9) / bandwidth).toFixed(0)} % | ${ire.toFixed(2)} | ${refresh.toFixed(2)} |`,
      ),
      '',
      '![update](plots/update.svg)',
    ].join('\n'),
  )
}

if (wanted('graph')) {
  const results: { nodes: number; seconds: number }[] = []
  for (const layers of graphSizes) {
    results.push(await measure<{ nodes: number; seconds: number }>('graph', { layers }))
    console.error(`graph of ${results.at(-1)!.nodes} nodes: ${results.at(-1)!.seconds.toFixed(3)} s`)
  }
  await plot('graph', [['seconds', results.map(({ nodes, seconds }) => [nodes, seconds])]], {
    title: 'From a model to its training graph',
    x: 'nodes',
    y: 'seconds',
  })
  parts.push(
    [
      '## From a model to its training graph',
      '',
      'Import of a deep perceptron in memory, its loss, and the gradients of all layers, in seconds of CPU time; without encoding and without onnxruntime.',
      '',
      '| nodes | seconds | microseconds per node |',
      '|---|---|---|',
      ...results.map(
        ({ nodes, seconds }) => `| ${nodes} | ${seconds.toFixed(3)} | ${((1e6 * seconds) / nodes).toFixed(0)} |`,
      ),
      '',
      '![graph](plots/graph.svg)',
    ].join('\n'),
  )
}

const text = parts.join('\n\n')
console.log(text)
if (!only) writeFileSync(fileURLToPath(new URL('RESULTS.md', import.meta.url)), `${text}\n`)

async function plot(name: string, curves: readonly [string, Curve['points']][], options: CurveOptions): Promise<void> {
  if (only) return
  const series = curves.map(([title, points]): Curve => ({ name: title, points }))
  const size = { width: 480, height: 320 }
  writeFileSync(`${folder}${name}.svg`, await plotCurves(series, { ...options, ...size, logX: true, logY: true }))
}

function giga(value: number): string {
  return (value / 1e9).toFixed(value < 1e11 ? 1 : 0)
}

/** Measures one point in a process of its own. */
function measure<T>(kind: string, options: object): Promise<T> {
  return new Promise((resolve, reject) => {
    const script = fileURLToPath(new URL('measure.mjs', import.meta.url))
    const child = fork(script, [kind, JSON.stringify(options)], {
      execArgv: [],
      env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' },
    })
    child.once('message', (message) => resolve(message as T))
    child.once('exit', (code, signal) =>
      reject(new Error(`${kind} ${JSON.stringify(options)} ended with ${signal ?? code}`)),
    )
  })
}
