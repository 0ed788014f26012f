import { createInterface } from 'node:readline'

/**
 * First message of a contender. A contender writes one JSON object per line: first `Ready` or `Unable`, then a `Turn`
 * for each `{"steps": n}` that it reads. The contender exits at the end of its standard input.
 */
export interface Ready {
  /** Library, version, backend, threads. */
  readonly about: string
  /** Description of the library's build and kernels, for the file of all results. */
  readonly build?: string
  /** Resident memory after loading the library, before reading the model, in bytes; undefined in a page. */
  readonly loaded?: number
  /** Number of elements of the trained tensors. */
  readonly parameters: number
}

/** Message of a contender that cannot train the model. */
export interface Unable {
  /** The reason. */
  readonly unable: string
}

/** Result of a turn. */
export interface Turn {
  /** Wall-clock time of all steps of the turn. */
  readonly seconds: number
  /** CPU time of all threads of the process during the turn, in seconds; undefined in a page. */
  readonly cpu?: number
  /** The loss of every step, before its update. */
  readonly losses: readonly number[]
  /** The part of `seconds` inside onnxruntime; reported by this library only. */
  readonly inRuntime?: number
}

/** Request for a turn. */
export interface Steps {
  readonly steps: number
}

/** Runs the protocol in a contender; `turn` takes n steps and returns their losses. */
export async function serve(
  ready: Ready,
  turn: (steps: number) => Promise<{ losses: readonly number[]; inRuntime?: number }>,
): Promise<void> {
  send(ready)
  for await (const line of createInterface({ input: process.stdin })) {
    const { steps } = JSON.parse(line) as Steps
    const cpu = process.cpuUsage()
    const start = performance.now()
    const result = await turn(steps)
    const seconds = (performance.now() - start) / 1000
    const { user, system } = process.cpuUsage(cpu)
    send({ ...result, seconds, cpu: (user + system) / 1e6 })
  }
}

export const send = (message: Ready | Unable | Turn): void => {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}
