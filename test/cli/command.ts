import { type ChildProcess, spawn } from 'node:child_process'
import { Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { main } from '../../src/cli/main.js'

/** Path of the program, for tests that start it with outputs of their own. */
export const program = fileURLToPath(new URL('../../dist/cli/bin.js', import.meta.url))

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Started {
  readonly process: ChildProcess
  readonly finished: Promise<Finished>
  /** Waits until a condition holds, or the process has ended. */
  until(isReached: () => boolean | Promise<boolean>): Promise<void>
}

/**
 * Starts the program as users do, in a process whose output is not a terminal. For signals, kills and working
 * directories. The process ends with the test that calls this, if it has not ended before.
 */
export function start(args: readonly string[], cwd?: string): Started {
  const child = spawn(process.execPath, [program, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [stdout, stderr]: [string[], string[]] = [[], []]
  child.stdout.setEncoding('utf8').on('data', (text: string) => stdout.push(text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => stderr.push(text))
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout: stdout.join(''), stderr: stderr.join('') }))
  })
  return {
    process: child,
    finished,
    async until(isReached) {
      while (child.exitCode === null && child.signalCode === null && !(await isReached())) await delay(2)
    },
  }
}

/** Runs a command in this process, its output not a terminal. */
export const run = (...args: readonly string[]): Promise<Finished> => runWith(new Text(), new Text(), args)

/** Runs a command in this process with lines of input. */
export const runWithInput = (input: string, ...args: readonly string[]): Promise<Finished> =>
  runWith(new Text(), new Text(), args, input)

/** Runs a command in this process, and interrupts it when its progress contains a text. */
export async function runInterrupted(args: readonly string[], at: RegExp): Promise<Finished> {
  const [stdout, stderr] = [new Text(), new Text()]
  const listeners = new Set<(signal: NodeJS.Signals) => void>()
  let isDone = false
  stderr.onText = () => {
    if (isDone || !at.test(stderr.text)) return
    isDone = true
    for (const listener of listeners) listener('SIGINT')
  }
  const code = await main(args, {
    ...{ stdout, stderr, stdin: Readable.from(['']) },
    onSignal(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    exit(code) {
      throw new Error(`process.exit(${code})`)
    },
  })
  return { code, stdout: stdout.text, stderr: stderr.text }
}

/** Runs a command in this process, its outputs on a terminal. */
export const runOnTerminal = (...args: readonly string[]): Promise<Finished> =>
  runWith(new TerminalText(), new TerminalText(), args)

async function runWith(stdout: Text, stderr: Text, args: readonly string[], input = ''): Promise<Finished> {
  const exit = (code: number): never => {
    throw new Error(`process.exit(${code})`)
  }
  const code = await main(args, { stdout, stderr, stdin: Readable.from([input]), onSignal: () => () => {}, exit })
  return { code, stdout: stdout.text, stderr: stderr.text }
}

/** A stream that stores what is written. */
class Text extends Writable {
  text = ''
  /** Called after every write. */
  onText: (() => void) | undefined
  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.text += chunk
    this.onText?.()
    done()
  }
}

/** A terminal that stores what is written. */
class TerminalText extends Text {
  readonly isTTY = true
  readonly columns = 200
}

/** Runs a command that is to succeed, with --json, and returns its document. */
export async function json<T>(...args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await run(...args, '--json')
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr}`)
  return JSON.parse(stdout) as T
}
