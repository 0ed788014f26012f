import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Message } from './child.js'
import { type Finding, firstLine, type ProviderName, type Reproducer, type Verdict } from './issue.js'

/** The time limit of a reproducer that names none, in seconds. */
const defaultLimit = 60

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Processes that are running; they end with this one. */
const running = new Set<number>()
process.on('exit', () => running.forEach(endGroup))

/** Runs one reproducer in a process of its own and judges what the process reported and how it ended. */
export function runIssue(slug: string, provider: ProviderName, reproducer: Reproducer): Promise<Verdict> {
  const { symptom, limit = defaultLimit } = reproducer
  const start = performance.now()
  return new Promise((resolve) => {
    const child = fork(fileURLToPath(new URL('child.ts', import.meta.url)), [slug], {
      execArgv: ['--import', 'tsx'],
      cwd: root,
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      detached: true,
    })
    if (child.pid !== undefined) running.add(child.pid)
    let armed: string | undefined
    let finding: Finding | undefined
    let errors = ''
    child.stderr!.on('data', (text) => {
      errors = `${errors}${text}`.slice(-2000)
    })
    const finish = (verdict: Verdict['verdict'], detail: string) => {
      clearTimeout(timer)
      child.removeAllListeners()
      if (child.pid !== undefined) endGroup(child.pid)
      resolve({ slug, provider, verdict, detail, seconds: (performance.now() - start) / 1000 })
    }
    const timer = setTimeout(() => {
      if (symptom === 'hang' && armed !== undefined) finish('still there', `${armed}: no answer within ${limit} s`)
      else finish('not tested here', `the reproducer did not end within ${limit} s`)
    }, limit * 1000)
    child.on('message', (message: Message) => {
      if (message.kind === 'armed') armed = message.detail
      else if (message.kind === 'not tested') finish('not tested here', message.why)
      else if (message.kind === 'failed') finish('not tested here', `the reproducer failed: ${firstLine(message.why)}`)
      else if (symptom === 'crash') finding = message.finding
      else finish(message.finding.present ? 'still there' : 'fixed', message.finding.detail)
    })
    child.on('exit', (code, signal) => {
      const how = signal ? `the process ends with ${signal}` : `the process ends with code ${code}`
      const reason = `${how}${reasonIn(errors)}`
      if (symptom !== 'crash' || armed === undefined) finish('not tested here', `the reproducer failed: ${reason}`)
      else if (signal !== null || code !== 0) finish('still there', `${armed}: ${reason}`)
      else finish('fixed', finding?.detail ?? `${armed}: ${how}`)
    })
  })
}

/** The line of standard error that names a cause. */
function reasonIn(errors: string): string {
  const line = errors.split('\n').find((line) => /terminate called|what\(\)|FATAL|Error:/.test(line))
  return line ? ` (${firstLine(line, 120)})` : ''
}

/** Ends the process and those it started, such as a browser. */
function endGroup(pid: number): void {
  running.delete(pid)
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // They have ended.
  }
}
