import { afterAll } from 'vitest'
import {
  adamw,
  crossEntropy,
  type DatasetOrStream,
  type FitOptions,
  type IntervalMetrics,
  type Model,
  Trainer,
  type TrainerOptions,
} from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { flat, smallMlp } from './problem.js'

/** Starts a runtime for the tests of the calling file, and returns it with a function that creates trainers on it. */
export function startTrainers(defaults: Partial<TrainerOptions> = {}) {
  const runtime = node({ threads: 1 })
  afterAll(() => runtime.dispose())
  const shared = { loss: crossEntropy(), optimizer: adamw({ lr: 1e-2 }), runtime, batchSize: 8, ...defaults }
  const create = (options: Partial<TrainerOptions> = {}, model: Model = smallMlp()): Promise<Trainer> =>
    Trainer.create(model, { ...shared, ...options })
  return { runtime, create }
}

/** Trains to the end and returns the metrics of every evaluation interval. */
export async function train(trainer: Trainer, data: DatasetOrStream, options: FitOptions): Promise<IntervalMetrics[]> {
  const intervals: IntervalMetrics[] = []
  for await (const metrics of trainer.fit(data, options)) intervals.push(metrics)
  return intervals
}

/** Trains to the end, disposes of the trainer, and returns its weights and the metrics of its last interval. */
export async function trainAndDispose(trainer: Trainer, data: DatasetOrStream, options: FitOptions) {
  const intervals = await train(trainer, data, options)
  const weights = flat(await trainer.parameters())
  await trainer.dispose()
  return { weights, last: intervals.at(-1)! }
}
