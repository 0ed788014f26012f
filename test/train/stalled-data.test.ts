import { describe, expect, it } from 'vitest'
import type { CheckpointStore, Dataset, ExampleStream } from '../../src/index.js'
import { clusters } from './problem.js'
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
    const saved = new Map<number, Uint8Array>()
    const store: CheckpointStore = {
      save: async (step, checkpoint) => void saved.set(step, checkpoint),
      steps: async () => [...saved.keys()],
      load: async (step) => saved.get(step)!,
    }
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
    expect([...saved.keys()]).toContain(trainer.step)
    const others = await create()
    await others.resume(store)
    await others.train(points, { totalEpochs: 1 })
    expect(others.step).toBe(5)
    await trainer.dispose()
    await others.dispose()
  })
})
