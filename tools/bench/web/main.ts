import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, Option } from 'commander'
import { chromiumPath, launchChromium, whyNoChromium } from '../../chromium.js'
import { installPeers } from '../contenders.js'
import { machine } from '../machine.js'
import { someOf, wholeNumber } from '../options.js'
import { writeProblem } from '../problem.js'
import { measure, type Result } from '../rounds.js'
import { workloads as known, lenet, smallLlama } from '../workloads.js'
import { buildPage, servePage } from './build.js'
import { tableText } from './report.js'
import { Tab, type TabCommand } from './tab.js'

const workloads = { mlp: known['mlp']!, lenet, llama: smallLlama }
/** Contenders by the device they share. */
const groups: Readonly<Record<string, readonly TabCommand[]>> = {
  wasm: [
    { name: 'onnx-ire', library: 'ours', backends: ['wasm'] },
    { name: 'onnx-ire with IRE', library: 'ours', backends: ['wasm ire'] },
    { name: 'TensorFlow.js', library: 'tfjs', backends: ['wasm', 'cpu'] },
    { name: 'jax-js', library: 'jax', backends: ['wasm'] },
  ],
  webgpu: [
    { name: 'onnx-ire', library: 'ours', backends: ['webgpu'] },
    { name: 'onnx-ire with IRE', library: 'ours', backends: ['webgpu ire'] },
    { name: 'onnx-ire, gradients in onnxruntime', library: 'ours', backends: ['webgpu onnxruntime'] },
    { name: 'TensorFlow.js', library: 'tfjs', backends: ['webgpu'] },
    { name: 'jax-js', library: 'jax', backends: ['webgpu'] },
  ],
}

const options = new Command('bench:web')
  .description('Time of training steps in Chromium, of onnx-ire, TensorFlow.js and jax-js, each in a separate tab.')
  .option('--workload <list>', 'of mlp, lenet, llama', someOf(Object.keys(workloads)), Object.keys(workloads))
  .option('--on <list>', 'of wasm, webgpu', someOf(Object.keys(groups)), Object.keys(groups))
  .option('--rounds <n>', 'number of turns of each library', wholeNumber, 5)
  .option('--seconds <n>', 'approximate duration of a turn in seconds', wholeNumber, 3)
  .option('--timeout <n>', 'longest time to wait for an answer of a page, in seconds', wholeNumber, 240)
  .option('--cpu', 'measure the CPU time of the browser instead of elapsed time, on a busy machine (Linux)')
  .option('--chromium <file>', 'path of the browser', chromiumPath)
  .option('--json <file>', 'write all results to this file')
  .addOption(new Option('--markdown', 'write the report to tools/bench/web/RESULTS.md'))
  .addHelpText(
    'after',
    '\nExamples:\n  npm run bench:web\n  npm run bench:web -- --on wasm --rounds 9 --markdown\n  npm run bench:web -- --workload lenet --json web.json',
  )
  .parse()
  .opts<{
    workload: (keyof typeof workloads)[]
    on: string[]
    rounds: number
    seconds: number
    timeout: number
    cpu?: boolean
    chromium: string
    json?: string
    markdown?: boolean
  }>()

const missing = whyNoChromium(options.chromium)
if (missing !== undefined) {
  console.error(`bench:web: ${missing}; or set --chromium FILE.`)
  process.exit(1)
}
const facts = machine()
if (facts.load[0]! > 0.5 && !options.cpu)
  console.error(`The machine is busy (load ${facts.load[0]}): the measured times will be too high.`)
installPeers()
const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-bench-web-'))
await buildPage(folder)
const intervals = options.workload.map((name) => writeProblem(join(folder, name), workloads[name]).ire.interval)
const server = await servePage(folder)
// Chromium slows down tabs in the background; a tab must run at full speed in its turn.
const browser = await launchChromium(
  ['--disable-background-timer-throttling', '--disable-renderer-backgrounding'],
  options.chromium,
)
const tables: { title: string; on: string; results: readonly Result[] }[] = []
try {
  for (const [i, name] of options.workload.entries())
    for (const on of options.on) {
      const { title } = workloads[name]
      console.error(`${title} on ${on} ...`)
      const tabs = groups[on]!.map((command) => new Tab(command, browser.context, server.url, name, options))
      const results = await measure(tabs, { ...options, interval: intervals[i]!, reference: 'onnx-ire' })
      tables.push({ title, on, results })
      console.error(`${tableText({ title, on, results })}\n`)
    }
} finally {
  await browser.close()
  await server.close()
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}
const about = `${facts.cpu}, ${facts.cores} cores, ${facts.system}; Chromium ${browser.context.browser()?.version() ?? ''} headless; load ${facts.load.join(', ')} before; ${new Date().toISOString().slice(0, 10)}.`
const text = [about, ...tables.map(tableText)].join('\n\n')
console.log(text)
if (options.json) writeFileSync(options.json, `${JSON.stringify({ machine: facts, tables }, null, 2)}\n`)
if (options.markdown)
  writeFileSync(
    fileURLToPath(new URL('RESULTS.md', import.meta.url)),
    `# Comparison with other libraries in the browser

Written by \`npm run bench:web${process.argv.length > 2 ? ` -- ${process.argv.slice(2).join(' ')}` : ''}\`. A step is forward, backward and AdamW, with the same weights and batches for every library, with the loss read back. Libraries take turns in tabs of one browser; ratios compare turns of the same round.${options.cpu ? ' Times are CPU times of the browser.' : ''} Values are medians, with the range in parentheses. **WebGPU ran on SwiftShader, a GPU emulated in software: the figures show that training works and the cost of the dispatches, not the speed on a GPU.**

${text}
`,
  )
