import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os'

/** Description of the machine, without which durations cannot be compared. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  /** Instruction sets that kernels choose between; empty where the system does not list them. */
  readonly instructions: readonly string[]
  readonly memoryGB: number
  readonly system: string
  readonly node: string
  /** Load averages over one, five and fifteen minutes, before the first measurement. */
  readonly load: readonly number[]
}

export const machine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: availableParallelism(),
  instructions: instructionSets(),
  memoryGB: Math.round(totalmem() / 2 ** 30),
  system: `${type()} ${release()}`,
  node: process.version,
  load: loadavg().map((x) => Number(x.toFixed(2))),
})

/** Returns the flags of vector and matrix instructions in the text of Linux's /proc/cpuinfo. */
export const instructionsIn = (text: string): string[] =>
  (/^(?:flags|Features)\s*:(.*)$/m.exec(text)?.[1] ?? '')
    .split(' ')
    .filter((flag) => /^(avx|fma$|amx|asimd|sve|sme(\d|_|$)|bf16|i8mm)/.test(flag))

function instructionSets(): string[] {
  try {
    return instructionsIn(readFileSync('/proc/cpuinfo', 'utf8'))
  } catch {
    return []
  }
}

/** Returns the seconds that all cores were busy since the machine started, summed over the cores. */
export const busySeconds = (): number =>
  cpus().reduce((sum, { times: { user, nice, sys, irq } }) => sum + user + nice + sys + irq, 0) / 1000
