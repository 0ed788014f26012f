import { afterAll, describe, expect, it } from 'vitest'
import {
  adamw,
  type CheckpointStore,
  crossEntropy,
  type Dataset,
  encodeModel,
  type FitOptions,
  type IntervalMetrics,
  ire,
  sam,
  Trainer,
} from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { memoryStore } from './memory-store.js'
import { clusters, smallMlp } from './problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const points = clusters(40, [6])
const others = clusters(24, [6], 9)

/** Creates a trainer in which everything that can change at the end of an interval does. */
const create = (): Promise<Trainer> =>
  Trainer.create(smallMlp(), {
    loss: crossEntropy(),
    optimizer: ire(sam(adamw({ lr: 0.2 })), { kappa: 1, gamma: 0.8, interval: 3, warmup: 1, beta: 0.5 }),
    runtime,
    batchSize: 8,
    groups: [{ tensors: 'hidden*', frozen: { untilStep: 4 } }],
    ema: 0.7,
    best: {},
    earlyStopping: { patience: 9 },
    schedule: { kind: 'plateau', patience: 0 },
  })

async function fitted(trainer: Trainer, options: Partial<FitOptions>): Promise<IntervalMetrics[]> {
  const rounds: IntervalMetrics[] = []
  const end = options.totalSteps === undefined ? { totalEpochs: 3 } : {}
  const all = { ...end, evaluateEvery: 4, validation: others, ...options }
  if (trainer.isFinished(all)) return []
  for await (const metrics of trainer.fit(points, all)) rounds.push(metrics)
  return rounds
}

const models = (trainer: Trainer): Buffer[] =>
  (['last', 'ema', 'best'] as const).map((weights) => Buffer.from(encodeModel(trainer.export({ weights }))))

/** Resumes an interrupted run; returns its trainer and the metrics of the remaining intervals. */
async function resumed(store: CheckpointStore): Promise<{ trainer: Trainer; rounds: IntervalMetrics[] }> {
  const trainer = await create()
  await trainer.resume(store)
  return { trainer, rounds: await fitted(trainer, {}) }
}

const judged = (rounds: readonly IntervalMetrics[]) =>
  rounds.map(({ epoch, step, count, loss, lr, validation }) => ({ epoch, step, count, loss, lr, validation }))

describe('a run of 15 steps in intervals of 4, stopped after any step', () => {
  const steps = Array.from({ length: 15 }, (_, i) => i)

  it('ends with the last, average and best weights of an uninterrupted run', async () => {
    const whole = await create()
    const told = judged(await fitted(whole, {}))
    for (const last of steps) {
      const store = memoryStore()
      const first = await fitted(await create(), {
        checkpoints: { store, everySteps: 2 },
        onStep: ({ step }) => (step === last ? 'stop' : undefined),
      })
      const { trainer, rounds } = await resumed(store)
      expect(models(trainer)).toEqual(models(whole))
      // An interval stopped in the middle is reported twice, the second time complete.
      const complete = first.filter(({ validation }) => validation)
      expect(judged([...complete, ...rounds])).toEqual(told)
    }
  })

  it('aborted in the last step of an interval > ends equally: validation runs on resume', async () => {
    const whole = await create()
    const told = judged(await fitted(whole, {}))
    for (const last of [7, 14]) {
      const signal = { aborted: false }
      const store = memoryStore()
      const first = await fitted(await create(), {
        checkpoints: { store },
        signal,
        onStep: ({ step }) => {
          signal.aborted = step === last
        },
      })
      expect(first.at(-1)!.validation).toBeUndefined()
      const { trainer, rounds } = await resumed(store)
      expect(models(trainer)).toEqual(models(whole))
      expect(judged(rounds)).toEqual(told.slice(last === 7 ? 1 : 3))
    }
  })

  it('validation fails and a checkpoint is created > ends equally', async () => {
    const whole = await create()
    await fitted(whole, {})
    const broken: Dataset = {
      length: 24,
      batch: () => {
        throw new Error('interrupted')
      },
    }
    const trainer = await create()
    await fitted(trainer, { totalSteps: 4 })
    await expect(fitted(trainer, { validation: broken })).rejects.toThrow('interrupted')
    expect(trainer.step).toBe(8)
    const store = memoryStore()
    await store.save(8, trainer.checkpoint())
    expect(models((await resumed(store)).trainer)).toEqual(models(whole))
    // Also without a checkpoint, by a second call.
    await fitted(trainer, {})
    expect(models(trainer)).toEqual(models(whole))
  })
})

it('the checkpoint of the last step includes the validation after it', async () => {
  const store = memoryStore()
  const trainer = await create()
  await fitted(trainer, { totalSteps: 6, checkpoints: { store, everySteps: 2 } })
  const again = await create()
  await again.resume(store)
  expect(again.checkpoint()).toEqual(trainer.checkpoint())
})
