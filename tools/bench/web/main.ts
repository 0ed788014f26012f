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
import type { Unable } from '../protocol.js'
import { measure, type Result } from '../rounds.js'
import { workloads as known, lenet, smallLlama } from '../workloads.js'
import { buildPage, servePage } from './build.js'
import { measurePrice, type Price, priceText } from './price.js'
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
  .addOption(
    new Option('--price <n>', 'measure the price of IRE only, in one page for n seconds per workload and device')
      .argParser(wholeNumber)
      .conflicts(['rounds', 'seconds']),
  )
  .option('--timeout <n>', 'longest time to wait for an answer of a page, in seconds', wholeNumber, 240)
  .option('--cpu', 'measure the CPU time of the browser instead of elapsed time, on a busy machine (Linux)')
  .option('--chromium <file>', 'path of the browser', chromiumPath)
  .option('--json <file>', 'write all results to this file')
  .addOption(new Option('--markdown', 'write the report to tools/bench/web/RESULTS.md, of --price to PRICE.md'))
  .addHelpText(
    'after',
    '\nExamples:\n  npm run bench:web\n  npm run bench:web -- --on wasm --rounds 9 --markdown\n  npm run bench:web -- --workload lenet --json web.json\n  npm run bench:web -- --price 20 --markdown',
  )
  .parse()
  .opts<{
    workload: (keyof typeof workloads)[]
    on: string[]
    rounds: number
    seconds: number
    price?: number
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
const prices: { title: string; on: string; price: Price | Unable }[] = []
try {
  for (const [i, name] of options.workload.entries())
    for (const on of options.on) {
      const { title } = workloads[name]
      console.error(`${title} on ${on} ...`)
      const tabOf = (command: TabCommand, beside?: Tab) =>
        new Tab(command, browser.context, server.url, name, { ...options, ...(beside && { beside }) })
      if (options.price !== undefined) {
        const base = tabOf(groups[on]![0]!)
        const enhanced = tabOf(groups[on]![1]!, base)
        const price = await measurePrice(base, enhanced, { interval: intervals[i]!, seconds: options.price })
        prices.push({ title, on, price })
        console.error(`${priceText([{ title, on, price }])}\n`)
        continue
      }
      const tabs = groups[on]!.map((command) => tabOf(command))
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
const text = [about, ...(options.price === undefined ? tables.map(tableText) : [priceText(prices)])].join('\n\n')
console.log(text)
if (options.json)
  writeFileSync(
    options.json,
    `${JSON.stringify({ machine: facts, ...(options.price === undefined ? { tables } : { prices }) }, null, 2)}\n`,
  )
const command = `npm run bench:web${process.argv.length > 2 ? ` -- ${process.argv.slice(2).join(' ')}` : ''}`
const cpuTimes = options.cpu ? ' Times are CPU times of the browser.' : ''
const swiftShader =
  '**WebGPU ran on SwiftShader, a GPU emulated in software: the figures show that training works and the cost of the dispatches, not the speed on a GPU.**'
const comparison = `# Comparison with other libraries in the browser

Written by \`${command}\`. A step is forward, backward and AdamW, with the same weights and batches for every library, with the loss read back. Libraries take turns in tabs of one browser; ratios compare turns of the same round.${cpuTimes} Values are medians, with the range in parentheses. ${swiftShader}

${text}
`
const priceReport = `# The price of IRE in the browser

Written by \`${command}\`. Training with AdamW and with IRE around it, in one page and on one runtime, take turns in blocks of as many steps as IRE has between two refreshes of its mask (${[...new Set(intervals)].join(', ')}); every other pair starts with IRE. Pages and their workers run at different speeds for minutes, so that two tabs do not show a difference this small.${cpuTimes} Times and ratios are medians over the pairs of blocks, ratios with the 95 % interval of the median in parentheses. ${swiftShader}

${text}
`
if (options.markdown) {
  const [file, report] = options.price === undefined ? ['RESULTS.md', comparison] : ['PRICE.md', priceReport]
  writeFileSync(fileURLToPath(new URL(file, import.meta.url)), report)
}
