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

/** A process that trains one model when it is told to; see protocol.ts. */
export class Contender {
  readonly name: string
  private readonly child: ChildProcess
  private readonly lines: AsyncIterator<string>
  private readonly patience: number
  private said = ''

  /** @param patience seconds that an answer may take */
  constructor({ name, file, args, env }: Command, patience: number) {
    this.name = name
    this.patience = patience
    this.child = spawn(file, [...args], { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stderr!.on('data', (chunk: Buffer) => {
      this.said = (this.said + chunk.toString()).slice(-4000)
    })
    this.child.on('error', ({ message }) => {
      this.said = message
    })
    // What it says when it is gone goes nowhere.
    this.child.stdin!.on('error', () => {})
    this.lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]()
  }

  start(): Promise<Ready | Unable> {
    return this.answer<Ready>()
  }

  run(steps: number): Promise<Turn | Unable> {
    const request: Steps = { steps }
    this.child.stdin!.write(`${JSON.stringify(request)}\n`)
    return this.answer<Turn>()
  }

  /** Ends the process: gently, and after a while not so. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null || this.child.pid === undefined) return
    const over = new Promise<void>((resolve) => this.child.once('exit', () => resolve()))
    this.child.stdin!.end()
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 10_000)
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
        const next = await Promise.race([this.lines.next(), late])
        if (next === 'late') {
          this.child.kill('SIGKILL')
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
