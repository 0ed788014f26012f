import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, Option } from 'commander'
import { Contender } from './contender.js'
import { commandsFor, installPeers, type Peer, peers } from './contenders.js'
import { machine } from './machine.js'
import { densenet, opening } from './opening.js'
import { someOf, wholeNumber } from './options.js'
import { writeProblem } from './problem.js'
import { type Measured, modelText, type Report, reportText } from './report.js'
import { measure } from './rounds.js'
import { updateCost } from './update.js'
import { workloads } from './workloads.js'

interface Options {
  readonly models: readonly string[]
  readonly peers: readonly Peer[]
  readonly rounds: number
  readonly seconds: number
  readonly patience: number
  readonly threads: number
  readonly python: string
  readonly blas?: string
  readonly densenet: string
  readonly json?: string
  readonly markdown?: boolean
}

const program = new Command('bench')
  .description('Time and memory of training steps (forward, backward, AdamW), ours beside those of other libraries.')
  .option(
    '--models <list>',
    `of ${Object.keys(workloads).join(', ')}`,
    someOf(Object.keys(workloads)),
    Object.keys(workloads),
  )
  .option(
    '--peers <list>',
    `of ${peers.join(', ')}, or none; tfjs and jax are installed when asked for`,
    someOf(peers),
    ['torch'],
  )
  .option('--rounds <n>', 'turns of every library, one after the other', wholeNumber, 5)
  .option('--seconds <n>', 'about what a turn takes', wholeNumber, 3)
  .option('--patience <n>', 'seconds to wait for the first steps of a library', wholeNumber, 180)
  .option('--threads <n>', 'threads of each library that has them', wholeNumber, availableParallelism())
  .option('--python <file>', 'a Python that imports torch', '/usr/bin/python3')
  .option('--blas <folder>', 'a folder with the libblas.so.3 that PyTorch is to use')
  .option('--densenet <file>', "fr_expression.onnx of npm's faceplugin-face-recognition-js", densenet)
  .option('--json <file>', 'write all figures there')
  .addOption(new Option('--markdown', 'write tools/bench/RESULTS.md'))
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
if (facts.load[0]! > 0.5) console.error(`The machine is busy (load ${facts.load[0]}): times will be too high.`)
if (options.peers.some((peer) => peer !== 'torch')) installPeers()
const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-bench-'))
const models: Record<string, Measured> = {}
try {
  for (const name of options.models) {
    const { title, mark, ...workload } = workloads[name]!
    console.error(`${title} ...`)
    const { ire } = writeProblem(join(folder, name), name, { title, mark, ...workload })
    const contestants = commandsFor(join(folder, name), options.peers, { ...options, blas: options.blas }).map(
      (command) => new Contender(command, options.patience),
    )
    models[name] = { title, mark, results: await measure(contestants, { ...options, interval: ire.interval }) }
    console.error(`${modelText(models[name])}\n`)
  }
} finally {
  rmSync(folder, { recursive: true })
}
console.error('The update and the DenseNet ...')
const report: Report = {
  date: new Date().toISOString().slice(0, 10),
  command: ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' '),
  machine: facts,
  threads: options.threads,
  models,
  update: await updateCost(8 * 2 ** 20, options.rounds),
  opening: opening(options.densenet, options.rounds),
}
const text = reportText(report)
console.log(text)
if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`)
if (options.markdown)
  writeFileSync(
    fileURLToPath(new URL('RESULTS.md', import.meta.url)),
    `# Beside other libraries

Written by \`${report.command}\`. A step is forward, backward and AdamW on the same weights and batches for everybody. Libraries take turns, each in a process of its own; ratios are of turns in the same round; medians, with the range in brackets. "Other load" is what else the machine computed during the turns, in per cent of one core. Peak memory is that of the whole process.

${text}
`,
  )
