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
import { workloads as known, lenet } from '../workloads.js'
import { buildPage, servePage } from './build.js'
import { tableText } from './report.js'
import { Tab, type TabCommand } from './tab.js'

const workloads = { mlp: known['mlp']!, lenet }
/** On the same processor, and on the same GPU. */
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
    { name: 'TensorFlow.js', library: 'tfjs', backends: ['webgpu'] },
    { name: 'jax-js', library: 'jax', backends: ['webgpu'] },
  ],
}

const options = new Command('bench:web')
  .description('Time of training steps in Chromium, ours beside TensorFlow.js and jax-js, each in a tab of its own.')
  .option('--models <list>', 'of mlp, lenet', someOf(Object.keys(workloads)), Object.keys(workloads))
  .option('--on <list>', 'of wasm, webgpu', someOf(Object.keys(groups)), Object.keys(groups))
  .option('--rounds <n>', 'turns of every library, one after the other', wholeNumber, 5)
  .option('--seconds <n>', 'about what a turn takes', wholeNumber, 3)
  .option('--patience <n>', 'seconds to wait for an answer of a page', wholeNumber, 240)
  .option('--chromium <file>', 'the browser', chromiumPath)
  .option('--json <file>', 'write all figures there')
  .addOption(new Option('--markdown', 'write tools/bench/web/RESULTS.md'))
  .addHelpText(
    'after',
    '\nExamples:\n  npm run bench:web\n  npm run bench:web -- --on wasm --rounds 9 --markdown\n  npm run bench:web -- --models lenet --json web.json',
  )
  .parse()
  .opts<{
    models: (keyof typeof workloads)[]
    on: string[]
    rounds: number
    seconds: number
    patience: number
    chromium: string
    json?: string
    markdown?: boolean
  }>()

const missing = whyNoChromium(options.chromium)
if (missing !== undefined) {
  console.error(`bench:web: ${missing}; or give --chromium FILE.`)
  process.exit(1)
}
const facts = machine()
if (facts.load[0]! > 0.5) console.error(`The machine is busy (load ${facts.load[0]}): times will be too high.`)
installPeers()
const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-bench-web-'))
await buildPage(folder)
const intervals = options.models.map((name) => writeProblem(join(folder, name), name, workloads[name]).ire.interval)
const server = await servePage(folder)
// Tabs take turns: one that waits behind another is not to be slowed down when its turn has come.
const browser = await launchChromium(
  ['--disable-background-timer-throttling', '--disable-renderer-backgrounding'],
  options.chromium,
)
const tables: { title: string; on: string; results: readonly Result[] }[] = []
try {
  for (const [i, name] of options.models.entries())
    for (const on of options.on) {
      const { title } = workloads[name]
      console.error(`${title} on ${on} ...`)
      const tabs = groups[on]!.map((command) => new Tab(command, browser.context, server.url, name, options.patience))
      const results = await measure(tabs, { ...options, interval: intervals[i]!, against: 'onnx-ire' })
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
    `# In the browser, beside other libraries

Written by \`npm run bench:web${process.argv.length > 2 ? ` -- ${process.argv.slice(2).join(' ')}` : ''}\`. A step is forward, backward and AdamW on the same weights and batches for everybody, with the loss read back. Libraries take turns in tabs of one browser; ratios are of turns in the same round; medians, with the range in brackets. **WebGPU is SwiftShader here, a GPU made of software: its figures say that it works and what a step costs in dispatches, not how fast a GPU is.**

${text}
`,
  )
