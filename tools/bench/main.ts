import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, Option } from 'commander'
import { ContenderProcess } from './contender.js'
import { type BenchDevice, commandsFor, devices, installedPeers, installPeers, type Peer, peers } from './contenders.js'
import { withoutRestrictions } from './environment.js'
import { machine } from './machine.js'
import { defaultDensenet, measureOpening } from './opening.js'
import { someOf, wholeNumber } from './options.js'
import { writeProblem } from './problem.js'
import { disagrees, type ModelResults, modelText, type Report, reportText } from './report.js'
import { measure, type Progress } from './rounds.js'
import { remainingSeconds } from './statistics.js'
import { updateCost } from './update.js'
import { workloads } from './workloads.js'

interface Options {
  readonly workload: readonly string[]
  readonly against: readonly Peer[]
  readonly ire: boolean
  readonly sam?: boolean
  readonly rounds: number
  readonly seconds: number
  readonly timeout: number
  readonly threads: number
  readonly device: BenchDevice
  readonly densenet: string
  readonly json?: string
  readonly markdown?: boolean
}

const names = Object.keys(workloads)
const program = new Command('bench')
  .description(
    'Time and peak memory of training steps (forward, backward, AdamW), of onnx-ire and of other libraries, in turns.',
  )
  .addOption(new Option('--workload <list>', `of ${names.join(', ')}`).argParser(someOf(names)).default(names, 'all'))
  .option(
    '--against <list>',
    `of ${peers.join(', ')}, or none: torch is PyTorch, compile is PyTorch with torch.compile, jax is JAX with jit; tfjs and jax-js are installed if listed`,
    someOf(peers),
    ['torch', 'compile', 'jax'],
  )
  .option('--no-ire', 'without onnx-ire with IRE')
  .option('--sam', 'onnx-ire with SAM too, and with SAM and IRE')
  .option('--rounds <n>', 'number of turns of each library', wholeNumber, 5)
  .option('--seconds <n>', 'approximate duration of a turn in seconds', wholeNumber, 3)
  .option('--timeout <n>', 'longest time to wait for an answer of a library, in seconds', wholeNumber, 900)
  .option('--threads <n>', 'threads of each library with multithreading', wholeNumber, availableParallelism())
  .addOption(
    new Option('--device <name>', 'where the steps run: onnx-ire and PyTorch on cuda, onnx-ire alone on webgpu')
      .choices(devices)
      .default('cpu'),
  )
  .option('--densenet <file>', "fr_expression.onnx of npm's faceplugin-face-recognition-js", defaultDensenet)
  .addOption(
    new Option('--quick', 'less of everything not given: four workloads, PyTorch only, 3 rounds of 1 s').implies({
      workload: ['mlp', 'resnet', 'audio', 'llama'],
      against: ['torch'],
      rounds: 3,
      seconds: 1,
    }),
  )
  .option('--json <file>', 'write all results to this file')
  .addOption(new Option('--markdown', 'write the report to tools/bench/RESULTS.md'))
  .addHelpText(
    'after',
    `
PyTorch and JAX are installed by npm run python -- torch jax; a library that is missing is skipped.

Examples:
  npm run bench -- --quick
  npm run bench -- --workload mlp,mlp-b1024,llama --against torch,compile --rounds 11
  npm run bench -- --against torch,compile,jax,tfjs,jax-js --json bench.json --markdown
  npm run bench -- --against none --workload resnet
  npm run bench -- --against none --workload mlp,llama --sam
  npm run bench -- --device cuda --against torch,compile --rounds 3`,
  )
  .parse()
const options = program.opts<Options>()

const facts = machine()
if (facts.load[0]! > 0.5)
  console.error(`The machine is busy (load ${facts.load[0]}): the measured times will be too high.`)
const { installed, missing } = installedPeers(options.against, options.device)
const { removed } = withoutRestrictions(process.env)
const notes = [
  ...missing,
  ...(removed.length > 0 ? [`Hidden from the peers, because they restrict kernels: ${removed.join(', ')}.`] : []),
]
for (const note of notes) console.error(note)
if (installed.some((peer) => peer === 'tfjs' || peer === 'jax-js')) installPeers()

const start = performance.now()
const minutes = (seconds: number) => `${(seconds / 60).toFixed(1)} min`
const printProgress = (progress: Progress) =>
  console.error(
    'starting' in progress
      ? `  starting ${progress.starting} ...`
      : `  round ${progress.round} of ${progress.rounds}, ${minutes(progress.secondsLeft)} left for this workload`,
  )

const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-bench-'))
const models: Record<string, ModelResults> = {}
try {
  for (const [index, name] of options.workload.entries()) {
    const workload = workloads[name]!
    const { title, target } = workload
    const elapsed = (performance.now() - start) / 1000
    const left = index > 0 ? `, about ${minutes(remainingSeconds(elapsed, index, options.workload.length))} left` : ''
    console.error(`[${index + 1}/${options.workload.length}${left}] ${title}`)
    const problem = join(folder, name)
    const { ire } = writeProblem(problem, workload)
    const contenders = commandsFor(problem, installed, { ...options, sam: options.sam ?? false }).map(
      (command) => new ContenderProcess(command, options.timeout),
    )
    const results = await measure(contenders, {
      rounds: options.rounds,
      seconds: options.seconds,
      interval: ire.interval,
      onProgress: printProgress,
    })
    models[name] = { title, target, results }
    rmSync(problem, { recursive: true })
    console.error(`${modelText(models[name])}\n`)
  }
} finally {
  rmSync(folder, { recursive: true })
}
console.error('Optimizer update and DenseNet ...')
const report: Report = {
  date: new Date().toISOString().slice(0, 10),
  command: ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' '),
  machine: facts,
  threads: options.threads,
  notes,
  models,
  update: await updateCost(8 * 2 ** 20, options.rounds, options.threads),
  opening: measureOpening(options.densenet, options.rounds),
}
const text = reportText(report)
console.log(text)
if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`)
if (options.markdown)
  writeFileSync(
    fileURLToPath(new URL('RESULTS.md', import.meta.url)),
    `# Comparison with other libraries

Written by \`${report.command}\`. A step is forward, backward and AdamW, with the same weights, batches and threads for every library; the losses of the first four steps have to agree. After a warm-up, libraries take turns, each in a separate process; ratios compare turns of the same round. Values are medians, with the range in parentheses. PyTorch runs with the fastest of its memory formats, forms of attention and implementations of AdamW, and flushes subnormal numbers to 0; compiling is not measured. "Other load" is the CPU time of other processes during the turns, in percent of one core. Peak memory is the largest resident memory of the process (VmHWM), in parentheses the part that the library took before it read the model; ratios of memory are without that part, because the CUDA build of PyTorch is the only one on PyPI for x86 Linux.

${text}
`,
  )
if (Object.values(models).some(({ results }) => results.some(disagrees))) process.exitCode = 1
