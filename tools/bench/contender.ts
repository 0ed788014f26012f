import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Ready, Steps, Turn, Unable } from './protocol.js'

/** Command that starts a contender. */
export interface Command {
  readonly name: string
  readonly file: string
  readonly args: readonly string[]
  readonly env: NodeJS.ProcessEnv
}

/** A participant of the benchmark, which trains one model in turns. */
export interface Contender {
  readonly name: string
  start(): Promise<Ready | Unable>
  run(steps: number): Promise<Turn | Unable>
  /** Returns the largest resident memory of the contender's process so far, in bytes; undefined if it is unknown. */
  peak(): number | undefined
  stop(): Promise<void>
}

/** Returns the peak of the resident memory in a Linux `/proc/PID/status`, in bytes. */
export function peakOf(status: string): number | undefined {
  const [, kilobytes] = /^VmHWM:\s*(\d+) kB$/m.exec(status) ?? []
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
}

/** A process that trains one model on request; see protocol.ts. */
export class ContenderProcess implements Contender {
  readonly name: string
  readonly #command: Command
  readonly #timeout: number
  #child: ChildProcess | undefined
  #lines: AsyncIterator<string> | undefined
  /** The last 4,000 characters of the error output. */
  #errorOutput = ''

  /** @param timeout longest time to wait for an answer, in seconds */
  constructor(command: Command, timeout: number) {
    this.name = command.name
    this.#command = command
    this.#timeout = timeout
  }

  start(): Promise<Ready | Unable> {
    const { file, args, env } = this.#command
    const child = spawn(file, [...args], { env, stdio: ['pipe', 'pipe', 'pipe'] })
    child.stderr.on('data', (chunk: Buffer) => {
      this.#errorOutput = (this.#errorOutput + chunk.toString()).slice(-4000)
    })
    child.on('error', ({ message }) => {
      this.#errorOutput = message
    })
    // Writing to a process that has exited is an error event; the answer reports the failure.
    child.stdin.on('error', () => {})
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    this.#child = child
    return this.#answer<Ready>()
  }

  run(steps: number): Promise<Turn | Unable> {
    const request: Steps = { steps }
    this.#child!.stdin!.write(`${JSON.stringify(request)}\n`)
    return this.#answer<Turn>()
  }

  /** Linux only. A process starts with the peak of its parent in its resource usage, but not in its status. */
  peak(): number | undefined {
    try {
      return peakOf(readFileSync(`/proc/${this.#child!.pid}/status`, 'utf8'))
    } catch {
      return undefined
    }
  }

  /** Closes the input of the process, which ends it; kills the process if it still runs after 10 s. */
  async stop(): Promise<void> {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.stdin!.end()
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000)
    await exited
    clearTimeout(timer)
  }

  /** Reads the next answer: the next line that begins with a brace. Libraries may print other lines. */
  async #answer<T>(): Promise<T | Unable> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), 1000 * this.#timeout)
    })
    try {
      while (true) {
        const next = await Promise.race([this.#lines!.next(), late])
        if (next === 'late') {
          this.#child!.kill('SIGKILL')
          return { unable: `no step within ${this.#timeout} s` }
        }
        if (next.done) return { unable: this.#failure() }
        if (next.value.startsWith('{')) return JSON.parse(next.value) as T | Unable
      }
    } finally {
      clearTimeout(timer)
    }
  }

  #failure(): string {
    const lines = this.#errorOutput.trim().split('\n')
    return (
      lines.findLast((line) => /Error/.test(line)) ??
      lines.at(-1) ??
      'the process ended without an answer or an error message'
    ).slice(0, 200)
  }
}
