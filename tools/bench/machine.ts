import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os'

/** Description of the machine, without which durations cannot be compared. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGB: number
  readonly system: string
  readonly node: string
  /** Load averages over one, five and fifteen minutes, before the first measurement. */
  readonly load: readonly number[]
}

export const machine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: availableParallelism(),
  memoryGB: Math.round(totalmem() / 2 ** 30),
  system: `${type()} ${release()}`,
  node: process.version,
  load: loadavg().map((x) => Number(x.toFixed(2))),
})

/** Returns the seconds that all cores were busy since the machine started, summed over the cores. */
export const busySeconds = (): number =>
  cpus().reduce((sum, { times: { user, nice, sys, irq } }) => sum + user + nice + sys + irq, 0) / 1000
