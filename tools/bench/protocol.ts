import { createInterface } from 'node:readline'

/**
 * What a contender says, one JSON object a line: first `Ready` or `Unable`, then a `Turn` for each `{"steps": n}` it reads.
 * It ends when its standard input does.
 */
export interface Ready {
  /** Library, version, backend, threads. */
  readonly about: string
  /** Elements of trained tensors. */
  readonly parameters: number
}

export interface Unable {
  readonly unable: string
}

export interface Turn {
  /** Wall-clock time of the turn, its steps one after the other. */
  readonly seconds: number
  /** Seconds of computing by all threads of the process during the turn; a page cannot tell. */
  readonly cpu?: number
  /** The loss of every step, before its update. */
  readonly losses: readonly number[]
  /** Largest resident memory of the process so far, bytes; a page cannot tell. */
  readonly peak?: number
  /** Of `seconds`, those inside onnxruntime; only ours tell. */
  readonly inRuntime?: number
}

export interface Steps {
  readonly steps: number
}

/** The contender's side: `turn` takes n steps and gives their losses. */
export async function serve(
  ready: Ready,
  turn: (steps: number) => Promise<{ losses: readonly number[]; inRuntime?: number }>,
): Promise<void> {
  say(ready)
  for await (const line of createInterface({ input: process.stdin })) {
    const { steps } = JSON.parse(line) as Steps
    const cpu = process.cpuUsage()
    const start = performance.now()
    const done = await turn(steps)
    const seconds = (performance.now() - start) / 1000
    const { user, system } = process.cpuUsage(cpu)
    say({ ...done, seconds, cpu: (user + system) / 1e6, peak: process.resourceUsage().maxRSS * 1024 })
  }
}

export const say = (message: Ready | Unable | Turn): void => {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}
