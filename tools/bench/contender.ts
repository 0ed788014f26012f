import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Ready, Steps, Turn, Unable } from './protocol.js'

/** How to start one contender. */
export interface Command {
  readonly name: string
  readonly file: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** Whoever takes turns in training one model. */
export interface Contestant {
  readonly name: string
  start(): Promise<Ready | Unable>
  run(steps: number): Promise<Turn | Unable>
  stop(): Promise<void>
}

/** A process that trains one model when it is told to; see protocol.ts. */
export class Contender implements Contestant {
  readonly name: string
  private readonly command: Command
  private readonly patience: number
  private child: ChildProcess | undefined
  private lines: AsyncIterator<string> | undefined
  private said = ''

  /** @param patience seconds that an answer may take */
  constructor(command: Command, patience: number) {
    this.name = command.name
    this.command = command
    this.patience = patience
  }

  start(): Promise<Ready | Unable> {
    const { file, args, env } = this.command
    const child = spawn(file, [...args], { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
    child.stderr.on('data', (chunk: Buffer) => {
      this.said = (this.said + chunk.toString()).slice(-4000)
    })
    child.on('error', ({ message }) => {
      this.said = message
    })
    // What it says when it is gone goes nowhere.
    child.stdin.on('error', () => {})
    this.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    this.child = child
    return this.answer<Ready>()
  }

  run(steps: number): Promise<Turn | Unable> {
    const request: Steps = { steps }
    this.child!.stdin!.write(`${JSON.stringify(request)}\n`)
    return this.answer<Turn>()
  }

  /** Ends the process: gently, and after a while not so. */
  async stop(): Promise<void> {
    const { child } = this
    if (!child || child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
    const over = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.stdin!.end()
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000)
    await over
    clearTimeout(timer)
  }

  /** The next line that is an answer; libraries may print others. */
  private async answer<T>(): Promise<T | Unable> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), 1000 * this.patience)
    })
    try {
      while (true) {
        const next = await Promise.race([this.lines!.next(), late])
        if (next === 'late') {
          this.child!.kill('SIGKILL')
          return { unable: `no step within ${this.patience} s` }
        }
        if (next.done) return { unable: this.lastWords() }
        if (next.value.startsWith('{')) return JSON.parse(next.value) as T | Unable
      }
    } finally {
      clearTimeout(timer)
    }
  }

  private lastWords(): string {
    const lines = this.said.trim().split('\n')
    return (lines.findLast((line) => /Error/.test(line)) ?? lines.at(-1) ?? 'ended without a word').slice(0, 200)
  }
}
