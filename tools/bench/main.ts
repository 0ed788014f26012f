import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, Option } from 'commander'
import { ContenderProcess } from './contender.js'
import { commandsFor, installPeers, type Peer, peers } from './contenders.js'
import { machine } from './machine.js'
import { defaultDensenet, measureOpening } from './opening.js'
import { someOf, wholeNumber } from './options.js'
import { writeProblem } from './problem.js'
import { type ModelResults, modelText, type Report, reportText } from './report.js'
import { measure } from './rounds.js'
import { updateCost } from './update.js'
import { workloads } from './workloads.js'

interface Options {
  readonly models: readonly string[]
  readonly peers: readonly Peer[]
  readonly rounds: number
  readonly seconds: number
  readonly timeout: number
  readonly threads: number
  readonly python: string
  readonly blas?: string
  readonly densenet: string
  readonly json?: string
  readonly markdown?: boolean
}

const program = new Command('bench')
  .description('Time and memory of training steps (forward, backward, AdamW), of onnx-ire and of other libraries.')
  .option(
    '--models <list>',
    `of ${Object.keys(workloads).join(', ')}`,
    someOf(Object.keys(workloads)),
    Object.keys(workloads),
  )
  .option('--peers <list>', `of ${peers.join(', ')}, or none; tfjs and jax are installed if listed`, someOf(peers), [
    'torch',
  ])
  .option('--rounds <n>', 'number of turns of each library', wholeNumber, 5)
  .option('--seconds <n>', 'approximate duration of a turn in seconds', wholeNumber, 3)
  .option('--timeout <n>', 'longest time to wait for an answer of a library, in seconds', wholeNumber, 180)
  .option('--threads <n>', 'threads of each library with multithreading', wholeNumber, availableParallelism())
  .option('--python <file>', 'Python interpreter with torch installed', '/usr/bin/python3')
  .option('--blas <folder>', 'folder of the libblas.so.3 for PyTorch')
  .option('--densenet <file>', "fr_expression.onnx of npm's faceplugin-face-recognition-js", defaultDensenet)
  .option('--json <file>', 'write all results to this file')
  .addOption(new Option('--markdown', 'write the report to tools/bench/RESULTS.md'))
  .addHelpText(
    'after',
    `
Examples:
  npm run bench
  npm run bench -- --models mlp,llama --rounds 11
  npm run bench -- --peers torch,tfjs,jax --json bench.json --markdown
  npm run bench -- --peers none --models resnet`,
  )
  .parse()
const options = program.opts<Options>()

const facts = machine()
if (facts.load[0]! > 0.5)
  console.error(`The machine is busy (load ${facts.load[0]}): the measured times will be too high.`)
if (options.peers.some((peer) => peer !== 'torch')) installPeers()
const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-bench-'))
const models: Record<string, ModelResults> = {}
try {
  for (const name of options.models) {
    const { title, target, ...workload } = workloads[name]!
    console.error(`${title} ...`)
    const { ire } = writeProblem(join(folder, name), name, { title, target, ...workload })
    const contenders = commandsFor(join(folder, name), options.peers, { ...options, blas: options.blas }).map(
      (command) => new ContenderProcess(command, options.timeout),
    )
    models[name] = { title, target, results: await measure(contenders, { ...options, interval: ire.interval }) }
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
  models,
  update: await updateCost(8 * 2 ** 20, options.rounds),
  opening: measureOpening(options.densenet, options.rounds),
}
const text = reportText(report)
console.log(text)
if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`)
if (options.markdown)
  writeFileSync(
    fileURLToPath(new URL('RESULTS.md', import.meta.url)),
    `# Comparison with other libraries

Written by \`${report.command}\`. A step is forward, backward and AdamW, with the same weights and batches for every library. Libraries take turns, each in a separate process; ratios compare turns of the same round. Values are medians, with the range in parentheses. "Other load" is the CPU time of other processes during the turns, in percent of one core. Peak memory is that of the whole process.

${text}
`,
  )
