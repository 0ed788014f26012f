import { type ChildProcess, fork } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { caseNames, defaultData } from './case.js'
import { type CaseOutcome, failed } from './outcome.js'
import { formatReport, formatSummary } from './report.js'

/**
 * Runs every ONNX backend test through the library: `npx tsx tools/conformance/main.ts`. Needs a built `dist` and the
 * test data (Debian: libonnx-testdata).
 */
const program = new Command('conformance')
  .option('--filter <text>', 'only cases whose name or operator contains it')
  .option('--data <folder>', "ONNX's backend test data", defaultData)
  .option('--json', 'print outcomes as JSON and write nothing', false)
  .option('--workers <number>', 'processes', '2')
  .option('--timeout <seconds>', 'for one case', '60')
  .parse()
const { filter, data, json, workers, timeout } = program.opts<{
  filter?: string
  data: string
  json: boolean
  workers: string
  timeout: string
}>()

const names = caseNames(data).filter((name) => !filter || name.toLowerCase().includes(filter.toLowerCase()))
const outcomes: CaseOutcome[] = []
const queue = names[Symbol.iterator]()
const started = performance.now()
await Promise.all(Array.from({ length: Number(workers) }, work))
outcomes.sort((a, b) => names.indexOf(a.name) - names.indexOf(b.name))

if (json) console.log(JSON.stringify(outcomes, null, 2))
else {
  console.log(formatSummary(outcomes))
  console.log(`${((performance.now() - started) / 1000).toFixed(0)} s`)
  if (!filter) writeFileSync(fileURLToPath(new URL('RESULTS.md', import.meta.url)), formatReport(outcomes))
}
process.exitCode = outcomes.some(({ forward, gradient }) => forward.result === 'failed' || gradient.result === 'failed')
  ? 1
  : 0

/** Checks cases from the queue in a worker process, which is replaced if a case crashes it or takes too long. */
async function work(): Promise<void> {
  let child: ChildProcess | undefined
  for (const name of queue) {
    child ??= fork(fileURLToPath(new URL('worker.ts', import.meta.url)), [data], { execArgv: ['--import', 'tsx'] })
    const outcome = await reply(child, name)
    outcomes.push(outcome.case)
    if (!outcome.alive) child = undefined
  }
  child?.kill()
}

function reply(child: ChildProcess, name: string): Promise<{ case: CaseOutcome; alive: boolean }> {
  return new Promise((resolve) => {
    const end = (reason: string) => {
      const outcome = failed(reason)
      finish({ name, operators: [], forward: outcome, gradient: outcome }, false)
    }
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      end(`took more than ${timeout} s`)
    }, Number(timeout) * 1000)
    const onMessage = (message: unknown) => finish(message as CaseOutcome, true)
    const onExit = (code: number | null, signal: string | null) => end(`the process ended with ${signal ?? code}`)
    const finish = (outcome: CaseOutcome, alive: boolean) => {
      clearTimeout(timer)
      child.off('message', onMessage).off('exit', onExit)
      resolve({ case: outcome, alive })
    }
    child.once('message', onMessage).once('exit', onExit)
    child.send(name)
  })
}
