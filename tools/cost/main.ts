import { fork } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { spreadOf } from '../bench/statistics.js'
import type { Cost } from './measure.js'

/**
 * Measures the cost of building training graphs: `npx tsx tools/cost/main.ts [--models FOLDER]`. Every measurement runs
 * in a separate process, for graphs of 1,000 to 20,000 nodes and the ONNX files in the folder.
 */
const program = new Command('cost')
  .option('--models <folder>', 'ONNX files to report nodes of')
  .option('--sizes <list>', 'numbers of nodes', '1000,2000,5000,10000,20000')
  .option('--forms <list>', 'forms of graphs', 'chain,graph,transformer,convolution,shared,wide,loop,branches')
  .parse()
const options = program.opts<{ models?: string; sizes: string; forms: string }>()

const lines: string[] = []
const say = (line: string) => {
  lines.push(line)
  console.log(line)
}

say('| form | nodes | with gradient | of them superfluous | read s | differentiate s | write s | in all s | peak MB |')
say('|---|---|---|---|---|---|---|---|---|')
for (const form of options.forms.split(',').filter(Boolean))
  for (const size of options.sizes.split(',')) {
    const cost = await measured<Cost>(['form', form, size])
    say(
      typeof cost === 'string'
        ? `| ${form} | ${size} | ${cost} | | | | | |`
        : `| ${form} | ${cost.before} | ${cost.after} | ${cost.superfluous} | ${timesOf(cost)} |`,
    )
  }
const curve = lines.splice(0)
say('| optimizer | Trainer.create of DenseNet-121, CPU s: median (least to most) of 5 |')
say('|---|---|')
for (const optimizer of ['adamw', 'ire']) {
  const seconds: number[] = []
  for (let i = 0; i < 5; i++) {
    const result = await measured<number>([optimizer], 'measure-create.ts')
    if (typeof result === 'string') throw new Error(result)
    seconds.push(result)
  }
  const { median, least, most } = spreadOf(seconds)
  say(`| ${optimizer} | ${median.toFixed(2)} (${least.toFixed(2)} to ${most.toFixed(2)}) |`)
}
const creation = lines.splice(0)
if (options.models) {
  say(
    '| model | nodes in the file | after import | with gradient | of them superfluous | read s | differentiate s | write s | in all s | peak MB |',
  )
  say('|---|---|---|---|---|---|---|---|---|---|')
  for (const file of filesUnder(options.models)) {
    const cost = await measured<Cost>(['file', file])
    say(
      typeof cost === 'string'
        ? `| ${basename(file)} | ${cost} | | | | | | | |`
        : `| ${basename(file)} | ${cost.before} | ${cost.imported} | ${cost.after} | ${cost.superfluous} | ${timesOf(cost)} |`,
    )
  }
}
writeFileSync(
  fileURLToPath(new URL('RESULTS.md', import.meta.url)),
  `# What building a training graph costs

Written by \`npx tsx tools/cost/main.ts\`. Reading a model, differentiating it with respect to everything, and writing the gradient model: seconds of CPU time, garbage collection included, which depend on the machine and are to be read as a curve. Peak memory is that of the process above its start. Superfluous nodes compute what another node does, or what nothing uses.

${curve.join('\n')}

A trainer, with the creation of the session by onnxruntime:

${creation.join('\n')}
${lines.length > 0 ? `\nPretrained models: nodes with their bodies, before and after.\n\n${lines.join('\n')}\n` : ''}`,
)

function timesOf({ seconds: { read, differentiate, write }, megabytes }: Cost): string {
  return [
    ...[read, differentiate, write, read + differentiate + write].map((x) => x.toFixed(2)),
    megabytes.toFixed(0),
  ].join(' | ')
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.onnx'))
    .map((file) => join(folder, file))
    .sort((a, b) => basename(a).localeCompare(basename(b)))
}

/** The result of a script in a new process, or its error. */
function measured<T>(args: readonly string[], script = 'measure.ts'): Promise<T | string> {
  return new Promise((resolve) => {
    const child = fork(fileURLToPath(new URL(script, import.meta.url)), [...args], {
      execArgv: ['--import', 'tsx'],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    let said = ''
    child.stderr!.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
    child.once('message', (cost) => resolve(cost as T))
    child.once('exit', () => {
      const [line] = said.split('\n').filter((each) => /Error/.test(each))
      resolve((line ?? 'ended without a result').slice(0, 160).replaceAll('|', '\\|'))
    })
  })
}
