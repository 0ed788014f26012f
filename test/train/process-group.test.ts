import { describe, expect, it } from 'vitest'
import { batches, Random } from '../../src/data/index.js'
import { input, modelOf, op, parameter, scalar } from '../../src/graph/index.js'
import {
  adamw,
  combine,
  crossEntropy,
  type Dataset,
  type FitOptions,
  fromArrays,
  ire,
  type Model,
  mse,
  sam,
  scheduleFreeAdamw,
  sgd,
  stream,
  type TrainerOptions,
} from '../../src/index.js'
import { decodeSafetensors } from '../../src/ir/safetensors.js'
import { errorWith } from '../thrown.js'
import { localGroup } from './local-group.js'
import { memoryStore } from './memory-store.js'
import { clusters, flat, linear, normal, smallConvnet, smallMlp } from './problem.js'
import { startTrainers, trainAndDispose } from './small-trainer.js'

const { create } = startTrainers()
// The last batch of an epoch has 3 examples: some of 4 processes have none of them.
const points = clusters(35, [6])
const images = clusters(19, [2, 8, 8])

/** Trains with each member of a group, and returns the members' weights and metrics. */
async function trainTogether(
  size: number,
  data: Dataset,
  options: Partial<TrainerOptions>,
  model: Model,
  fit: FitOptions = { totalSteps: 50 },
) {
  return Promise.all(
    localGroup(size).map(async (group) =>
      trainAndDispose(await create({ ...options, processGroup: group }, model), data, fit),
    ),
  )
}

/** A model that takes four examples at once. */
const ofFour = (): Model => linear(4)
const noisy = (): Model => {
  const x = input('x', 'float32', ['N', 6])
  const dropped = () => op.Dropout(x, scalar('float32', 0.3))[0]
  const outputs = new Map([
    ['logits', op.MatMul(dropped(), parameter('w', normal(new Random(1), [6, 3])))],
    ['y', op.MatMul(dropped(), parameter('v', normal(new Random(4), [6, 6])))],
  ])
  return modelOf({ name: 'noisy', inputs: new Map([['x', x]]), outputs })
}
const tasks = combine({
  kind: { loss: crossEntropy({ logits: 'logits' }) },
  size: { loss: mse({ output: 'y', targets: 'y_targets' }), weight: 0.3 },
})
const withTargets: Dataset = {
  length: points.length,
  batch: async (indices) => {
    const batch = await points.batch(indices)
    return { ...batch, y_targets: batch['x']! }
  },
}
/** Every third label is ignored, so that the processes have other numbers of targets. */
const partlyLabeled = fromArrays({
  x: normal(new Random(5), [35, 6]),
  labels: {
    dtype: 'int64',
    dims: [35],
    data: BigInt64Array.from({ length: 35 }, (_, i) => BigInt(i % 3 ? i % 2 : -1)),
  },
})

const cases: readonly (readonly [string, Dataset, Partial<TrainerOptions>, () => Model])[] = [
  [
    'SGD with clipping',
    points,
    { optimizer: sgd({ lr: 0.1, momentum: 0.9 }), clipNorm: 0.5, clipValue: 0.2 },
    smallMlp,
  ],
  ['AdamW with an average, in micro-batches', points, { microBatch: 3, ema: 0.9 }, smallMlp],
  ['ignored labels', partlyLabeled, { loss: crossEntropy({ ignoreIndex: -1 }) }, smallMlp],
  ['class weights', points, { loss: crossEntropy({ classWeights: [1, 5, 0.2] }) }, smallMlp],
  [
    'IRE on sampled labels',
    points,
    { optimizer: ire(adamw({ lr: 1e-2 }), { kappa: 2, gamma: 0.7, interval: 3 }) },
    smallMlp,
  ],
  [
    'IRE on a share of a fixed batch',
    points,
    {
      optimizer: ire(sgd({ lr: 0.1 }), { kappa: 2, gamma: 0.7, interval: 3 }),
      curvatureBatch: 'fixed',
      curvatureShare: 0.5,
    },
    smallMlp,
  ],
  [
    "IRE on the Hessian's diagonal",
    points,
    { optimizer: ire(sgd({ lr: 0.1 }), { kappa: 2, gamma: 0.7, interval: 3, curvature: 'hutchinson' }) },
    smallMlp,
  ],
  [
    'IRE on two sampled losses and Dropout',
    withTargets,
    {
      loss: tasks,
      dropout: 'on',
      microBatch: 2,
      optimizer: ire(sgd({ lr: 0.1 }), { kappa: 2, gamma: 0.7, interval: 3 }),
    },
    noisy,
  ],
  [
    'IRE on a model of fixed batches',
    clusters(40, [6]),
    { optimizer: ire(sgd({ lr: 0.1 }), { kappa: 2, gamma: 0.7, interval: 3 }), batchSize: 12 },
    ofFour,
  ],
  ['SAM', points, { optimizer: sam(sgd({ lr: 0.1 }), { rho: 0.1 }) }, smallMlp],
  ['Schedule-Free AdamW', points, { optimizer: scheduleFreeAdamw({ lr: 1e-2 }) }, smallMlp],
  ['LoRA', points, { adapter: { r: 2 } }, smallMlp],
  ['frozen BatchNormalization', images, {}, smallConvnet],
]

describe('processes take the steps of one with the whole batch', () => {
  it.each(cases)('%s', async (_, data, options, model) => {
    const [alone] = await trainTogether(1, data, options, model())
    const together = await trainTogether(4, data, { ...options }, model())
    for (const { weights, last } of together) {
      expect(weights).toEqual(together[0]!.weights)
      expect(last.loss).toBe(together[0]!.last.loss)
      // Float32 sums in another order.
      expect(Math.max(...weights.map((weight, i) => Math.abs(weight - alone!.weights[i]!)))).toBeLessThan(1e-5)
    }
    expect(together[0]!.last.loss).toBeCloseTo(alone!.last.loss, 5)
    expect(together[0]!.last.count).toBe(alone!.last.count)
  })
})

it('validation is that of one process', async () => {
  const fit = { totalEpochs: 2, validation: points }
  const [[alone], together] = await Promise.all([
    trainTogether(1, points, { best: { metric: 'accuracy' } }, smallMlp(), fit),
    trainTogether(3, points, { best: { metric: 'accuracy' } }, smallMlp(), fit),
  ])
  for (const { last } of together) {
    expect(last.validation).toEqual(together[0]!.last.validation)
    expect(last.validation!.count).toBe(points.length)
    expect(last.validation!.accuracy).toBe(alone!.last.validation!.accuracy)
    expect(last.validation!.loss).toBeCloseTo(alone!.last.validation!.loss, 5)
  }
})

it('trained batch normalizations have the same statistics in all processes', async () => {
  const together = await trainTogether(2, images, { batchNorm: 'trained' }, smallConvnet(), {
    totalSteps: 5,
    validation: images,
  })
  expect(together[1]!.weights).toEqual(together[0]!.weights)
  // Statistics change the validation.
  expect(together[1]!.last.validation).toEqual(together[0]!.last.validation)
})

it('trained batch normalizations have running statistics that are the means of those of the parts', async () => {
  const statisticsOf = (size: number) =>
    Promise.all(
      localGroup(size).map(async (group) => {
        // 7 examples, of which rank 0 has 4.
        const trainer = await create({ processGroup: group, batchNorm: 'trained', batchSize: 7 }, smallConvnet())
        await trainer.train(images, { totalSteps: 1 })
        const { tensors } = decodeSafetensors(trainer.checkpoint())
        const statistics = Object.entries(tensors).filter(([name]) => name.startsWith('statistic/'))
        return Object.fromEntries(statistics.map(([name, { data }]) => [name, [...(data as Float32Array)]]))
      }),
    )
  const [[alone], together] = await Promise.all([statisticsOf(1), statisticsOf(2)])
  expect(together[1]).toEqual(together[0])
  const names = Object.keys(alone!)
  const [mean, variance] = ['mean', 'var'].map((kind) => names.find((name) => name.includes(`running_${kind}`))!)
  for (const [c, value] of together[0]![mean!]!.entries()) {
    // The mean of the weighted means is that of the batch. The variance between the parts is not in their variances.
    expect(value).toBeCloseTo(alone![mean!]![c]!, 6)
    expect(together[0]![variance!]![c]!).not.toBeCloseTo(alone![variance!]![c]!, 6)
  }
})

it('another number of processes continues from the checkpoint of rank 0', async () => {
  const store = memoryStore()
  const unused = { ...store, steps: () => Promise.reject(new Error('only rank 0 reads')) }
  let saves = 0
  const checkpoints = {
    store: {
      ...store,
      save(step: number, bytes: Uint8Array) {
        saves++
        return store.save(step, bytes)
      },
    },
  }
  await trainTogether(3, points, {}, smallMlp(), { totalSteps: 7, checkpoints })
  expect(saves).toBe(2) // after the first epoch of 5 steps, and at the end: by rank 0 only
  const resumed = await Promise.all(
    localGroup(2).map(async (group) => {
      const trainer = await create({ processGroup: group })
      expect((await trainer.resume(group.rank === 0 ? store : unused))!.step).toBe(7)
      await trainer.train(points, { totalSteps: 50 })
      return flat(await trainer.parameters())
    }),
  )
  const [alone] = await trainTogether(1, points, {}, smallMlp())
  expect(resumed[1]).toEqual(resumed[0])
  expect(Math.max(...resumed[0]!.map((weight, i) => Math.abs(weight - alone!.weights[i]!)))).toBeLessThan(1e-5)
})

it("'stop' and an aborted signal of one process end all after the same step", async () => {
  for (const options of [
    (rank: number): Partial<FitOptions> => ({ onStep: ({ step }) => (rank === 1 && step === 2 ? 'stop' : undefined) }),
    (rank: number): Partial<FitOptions> => {
      let last = -1
      const signal = {
        get aborted() {
          return rank === 1 && last === 2
        },
      }
      return {
        signal,
        onStep({ step }) {
          last = step
        },
      }
    },
  ]) {
    const steps = await Promise.all(
      localGroup(2).map(async (group) => {
        const trainer = await create({ processGroup: group })
        await trainer.train(points, { totalSteps: 50, ...options(group.rank) })
        return trainer.step
      }),
    )
    expect(steps).toEqual([3, 3])
  }
})

it('other weights in one process are an error in all', async () => {
  const results = localGroup(2).map(async (group) => {
    const trainer = await create({ processGroup: group, head: { classes: 3, seed: group.rank } })
    await trainer.train(points, { totalSteps: 1 })
  })
  for (const result of results) await expect(result).rejects.toThrow(errorWith('runtime', 'rank 1'))
})

it('other data in one process are an error in all', async () => {
  const results = localGroup(2).map(async (group) => {
    const trainer = await create({ processGroup: group })
    await trainer.train(clusters(35, [6], group.rank), { totalSteps: 1 })
  })
  for (const result of results) await expect(result).rejects.toThrow(errorWith('runtime', 'the data'))
})

it('parts of batches make up the whole ones, of data sets and of streams', async () => {
  const rows = stream(Array.from({ length: 35 }, (_, i) => ({ x: i })))
  for (const data of [fromArrays({ x: { dims: [35, 1], data: Float32Array.from({ length: 35 }, (_, i) => i) } }), rows])
    for (const unit of [1, 3]) {
      const options = { batchSize: 9, shuffle: new Random(2), epoch: 1 }
      const whole: number[][] = []
      for await (const { indices } of batches(data, options)) whole.push([...indices])
      const parts: number[][] = whole.map(() => [])
      for (const index of [0, 1, 2, 3])
        for await (const batch of batches(data, { ...options, part: { index, of: 4, unit } })) {
          expect(batch.whole).toBe(whole[batch.number]!.length)
          expect(batch.size).toBeGreaterThan(0)
          if (batch.first === batch.whole) continue
          expect(batch.first % unit).toBe(0)
          parts[batch.number]!.push(...batch.indices)
        }
      expect(parts).toEqual(whole)
    }
})
