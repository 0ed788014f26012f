import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os'

/** Facts that a time means nothing without. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGB: number
  readonly system: string
  readonly node: string
  /** One, five and fifteen minutes, before the first measurement. */
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

/** Core-seconds in which the machine was not idle, since it started. */
export const busySeconds = (): number =>
  cpus().reduce((sum, { times: { user, nice, sys, irq } }) => sum + user + nice + sys + irq, 0) / 1000
