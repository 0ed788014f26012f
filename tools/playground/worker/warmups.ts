import type { Settings } from '../protocol.js'

/** Steps before IRE begins, and in which the learning rate rises. */
export function toWarmups({ epochs, batchSize }: Settings, trained: number) {
  const steps = epochs * Math.ceil(trained / batchSize)
  return { ire: Math.ceil(steps / 10), schedule: Math.min(5, Math.floor(steps / 2)) }
}
