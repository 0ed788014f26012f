import { describe, expect, it } from 'vitest'
import { adamw, crossEntropy, type Dataset, type ExampleStream, evaluateModel, ire, predict } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { memoryStore } from './memory-store.js'
import { clusters, smallMlp } from './problem.js'
import { startTrainers } from './small-trainer.js'

const { create } = startTrainers()
const points = clusters(40, [6])
const never = () => new Promise<never>(() => {})

/** The points, of which the first `arriving` batches are read and the others never arrive. */
function stallingData(arriving: number): Dataset {
  let read = 0
  return { ...points, batch: (indices, context) => (read++ < arriving ? points.batch(indices, context) : never()) }
}

const stallingStream: ExampleStream = { examples: () => ({ [Symbol.asyncIterator]: () => ({ next: never }) }) }

/** Aborts a while after the last step of the first epoch. */
const abortAfter =
  (controller: AbortController) =>
  ({ step }: { readonly step: number }) =>
    void (step === 4 && setTimeout(() => controller.abort(), 50))

describe('data that do not arrive > an aborted AbortSignal ends the wait', () => {
  it.each([
    ['before the first step of a data set', stallingData(0)],
    ['before the first step of a stream', stallingStream],
  ])('%s > without metrics', async (_, data) => {
    const trainer = await create()
    const controller = new AbortController()
    const result = trainer.train(data, { totalEpochs: 1, signal: controller.signal })
    setTimeout(() => controller.abort(), 20)
    expect(await result).toBeNull()
    expect(trainer.step).toBe(0)
    await trainer.dispose()
  })

  it('within an interval > with its metrics and a checkpoint, from which training continues', async () => {
    const store = memoryStore()
    const trainer = await create()
    const controller = new AbortController()
    const metrics = await trainer.train(stallingData(3), {
      totalEpochs: 1,
      signal: controller.signal,
      checkpoints: { store, everySteps: 1000 },
      onStep: ({ step }) => void (step === 0 && setTimeout(() => controller.abort(), 50)),
    })
    expect(metrics?.step).toBe(trainer.step)
    expect([1, 2, 3]).toContain(trainer.step)
    expect([...store.saved.keys()]).toContain(trainer.step)
    const others = await create()
    await others.resume(store)
    await others.train(points, { totalEpochs: 1 })
    expect(others.step).toBe(5)
    await trainer.dispose()
    await others.dispose()
  })

  it('in a validation > with the training metrics, and the validation follows when training continues', async () => {
    const trainer = await create()
    const controller = new AbortController()
    const options = { totalEpochs: 2, signal: controller.signal }
    const metrics = await trainer.train(points, {
      ...options,
      validation: stallingData(1),
      onStep: abortAfter(controller),
    })
    expect([metrics?.step, metrics?.validation]).toEqual([5, undefined])
    const steps: [number, boolean][] = []
    for await (const { step, validation } of trainer.fit(points, { totalEpochs: 2, validation: points }))
      steps.push([step, validation !== undefined])
    expect(steps).toEqual([
      [5, true],
      [10, true],
    ])
    await trainer.dispose()
  })

  it.each([
    ['in the first batch of the features of frozen layers', { features: 'cached', freeze: { except: 'head' } }, 0],
    ['in the features of frozen layers', { features: 'cached', freeze: { except: 'head' } }, 3],
    ['in the fixed batch of the curvature', { optimizer: ire(adamw()), curvatureBatch: 'fixed' }, 0],
  ] as const)('%s > without metrics', async (_, options, arriving) => {
    const trainer = await create(options)
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 50)
    expect(await trainer.train(stallingData(arriving), { totalEpochs: 1, signal: controller.signal })).toBeNull()
    await trainer.dispose()
  })

  it('in the features that another trainer computes > without metrics, and that one goes on', async () => {
    const options = { features: 'cached', freeze: { except: 'head' } } as const
    const [first, second] = [await create(options), await create(options)]
    let arrive = () => {}
    const arrived = new Promise<void>((resolve) => {
      arrive = resolve
    })
    const data: Dataset = {
      ...points,
      batch: async (indices, context) => {
        if (indices[0] !== 0) await arrived
        return points.batch(indices, context)
      },
    }
    const whole = first.train(data, { totalEpochs: 1 })
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 50)
    expect(await second.train(data, { totalEpochs: 1, signal: controller.signal })).toBeNull()
    arrive()
    expect((await whole)?.step).toBe(5)
    await first.dispose()
    await second.dispose()
  })

  it.each([stallingData(2), stallingStream])('in an evaluation > which rejects with the reason', async (data) => {
    const trainer = await create()
    const runtime = node({ threads: 1 })
    for (const evaluate of [
      (signal: AbortSignal) => trainer.evaluate(data, { signal }),
      (signal: AbortSignal) => evaluateModel(trainer.export(), data, { loss: crossEntropy(), runtime, signal }),
    ]) {
      const reason = new Error('the client has gone')
      const controller = new AbortController()
      setTimeout(() => controller.abort(reason), 50)
      await expect(evaluate(controller.signal)).rejects.toBe(reason)
      expect((await trainer.evaluate(points)).count).toBe(40)
    }
    await runtime.dispose()
    await trainer.dispose()
  })
})

it.each([stallingData(2), stallingStream])('a prediction > ends with the reason', async (data) => {
  const runtime = node({ threads: 1 })
  const controller = new AbortController()
  const reason = new Error('the client has gone')
  const all = predict(smallMlp(), data, { runtime, batchSize: 10, signal: controller.signal })
  const abortSoon = () => setTimeout(() => controller.abort(reason), 50)
  const arriving = 'batch' in data ? 20 : 0
  let examples = 0
  const read = async () => {
    if (arriving === 0) abortSoon()
    for await (const { indices } of all) {
      examples += indices.length
      if (examples === arriving) abortSoon()
    }
  }
  await expect(read()).rejects.toBe(reason)
  expect(examples).toBe(arriving)
  await runtime.dispose()
})

it('a plain object as signal > ends validations and evaluations between batches', async () => {
  const trainer = await create()
  const signal = { aborted: false }
  let batches = 0
  const validation: Dataset = {
    ...points,
    batch: (indices) => {
      if (++batches === 2) signal.aborted = true
      return points.batch(indices)
    },
  }
  const metrics = await trainer.train(points, { totalEpochs: 2, validation, signal })
  expect([metrics?.step, metrics?.validation]).toEqual([5, undefined])
  expect(batches).toBeLessThan(5)
  await expect(trainer.evaluate(points, { signal })).rejects.toThrow('aborted')
  await trainer.dispose()
})
