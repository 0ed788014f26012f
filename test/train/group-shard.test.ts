import { describe, expect, it } from 'vitest'
import {
  adafactor,
  adamw,
  adamw8bit,
  type Dataset,
  type FitOptions,
  ire,
  muon,
  type ProcessGroup,
  prodigy,
  type StepProgress,
  sam,
  scheduleFreeAdamw,
  sgd,
  type Tensor,
  type Tensors,
  type TrainerOptions,
} from '../../src/index.js'
import { decodeSafetensors } from '../../src/ir/safetensors.js'
import { createRules } from '../../src/optim/base-optimizer.js'
import { initialState } from '../../src/optim/state.js'
import { divideTensors, GroupShard } from '../../src/train/group-shard.js'
import { errorWith } from '../thrown.js'
import { localGroup } from './local-group.js'
import { memoryStore } from './memory-store.js'
import { clusters, flat } from './problem.js'
import { startTrainers } from './small-trainer.js'

const { create } = startTrainers()
const points = clusters(35, [6])

/** Trains with each member of a group, and returns the members' weights, and the checkpoint of rank 0. */
const trainTogether = (size: number, options: Partial<TrainerOptions>, fit: FitOptions) =>
  Promise.all(
    localGroup(size).map(async (group) => {
      const trainer = await create({ ...options, processGroup: group })
      const metrics = await trainer.train(points, fit)
      const weights = flat(await trainer.parameters())
      await trainer.sync()
      const checkpoint = group.rank === 0 ? decodeSafetensors(trainer.checkpoint()) : undefined
      await trainer.dispose()
      return { weights, metrics, checkpoint }
    }),
  )

const distance = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)

/** Replaces the numbers of a batch. */
const spoil = (batch: Tensors): Tensors => ({
  ...batch,
  x: { ...batch['x']!, data: new Float32Array(batch['x']!.data.length).fill(Number.NaN) } as Tensor,
})

const refreshes = { kappa: 2, gamma: 0.7, interval: 3 }

describe('a divided optimizer takes the steps of a whole one', () => {
  it.each<readonly [string, number, Partial<TrainerOptions>]>([
    [
      'IRE with smoothed curvature, clipping and an average',
      3,
      { optimizer: ire(adamw({ lr: 1e-2 }), { ...refreshes, beta: 0.5 }), clipNorm: 0.5, ema: 0.9 },
    ],
    [
      "IRE on the Hessian's diagonal, smoothed",
      2,
      { optimizer: ire(sgd({ lr: 0.1, momentum: 0.9 }), { ...refreshes, beta: 0.5, curvature: 'hutchinson' }) },
    ],
    ['friendly SAM', 2, { optimizer: sam(sgd({ lr: 0.1, momentum: 0.9 }), { rho: 0.1, variant: 'friendly' }) }],
    [
      'IRE on empirical curvature',
      3,
      { optimizer: ire(adamw({ lr: 1e-2 }), { ...refreshes, beta: 0.5, curvature: 'empirical' }) },
    ],
    ['clipping by value and norm, in micro-batches', 3, { clipValue: 0.05, clipNorm: 0.1, microBatch: 2 }],
    ['Schedule-Free AdamW', 2, { optimizer: scheduleFreeAdamw({ lr: 1e-2 }) }],
    ['Muon', 2, { optimizer: muon({ lr: 1e-2 }) }],
    ['Adafactor', 2, { optimizer: adafactor({ lr: 1e-2 }) }],
    ['AdamW of 8 bits', 3, { optimizer: adamw8bit({ lr: 1e-2, blockSize: 8, minSize: 8 }) }],
    ['Prodigy, and more processes than tensors', 5, { optimizer: prodigy({ lr: 0.5, d0: 1e-2 }) }],
  ])('%s', async (_, size, options) => {
    const fit = { totalSteps: 8, evaluateEvery: 4, validation: points }
    const whole = await trainTogether(size, options, fit)
    const divided = await trainTogether(size, { ...options, shardOptimizer: true }, fit)
    for (const { weights, metrics } of divided) {
      expect(weights).toEqual(divided[0]!.weights)
      expect(distance(weights, whole[0]!.weights)).toBeLessThan(1e-6)
      expect(metrics!.validation!.loss).toBeCloseTo(whole[0]!.metrics!.validation!.loss, 6)
    }
    const [expected, collected] = [whole[0]!.checkpoint!.tensors, divided[0]!.checkpoint!.tensors]
    expect(Object.keys(collected)).toEqual(Object.keys(expected))
    for (const [name, { data }] of Object.entries(expected))
      expect(distance(collected[name]!.data as Float32Array, data as Float32Array), name).toBeLessThan(1e-6)
  })
})

it('a step adds up the gradient of a tensor in the process that updates it', async () => {
  let summed = 0
  const counting = (group: ProcessGroup): ProcessGroup => ({
    ...group,
    allReduce: (arrays) => {
      summed += arrays.reduce((sum, { length }) => sum + length, 0)
      return group.allReduce(arrays)
    },
  })
  const steps = async (options: Partial<TrainerOptions>) => {
    summed = 0
    await Promise.all(
      localGroup(2).map(async (group) => {
        const trainer = await create({ processGroup: counting(group), ...options })
        await trainer.train(points, { totalSteps: 2 })
        await trainer.dispose()
      }),
    )
    return summed
  }
  const parameters = flat(await (await create()).parameters()).length
  // In two steps of two processes.
  expect(await steps({ clipNorm: 1 })).toBeGreaterThan(4 * parameters)
  expect(await steps({ clipNorm: 1, shardOptimizer: true })).toBeLessThan(parameters)
})

it('measures of a step are those of all gradients', async () => {
  const measure = (shardOptimizer: boolean) =>
    Promise.all(
      localGroup(2).map(async (group) => {
        const trainer = await create({ processGroup: group, shardOptimizer })
        const measures: StepProgress['tensors'][] = []
        await trainer.train(points, {
          totalSteps: 4,
          measureEvery: 2,
          onStep: ({ tensors }) => void measures.push(tensors),
        })
        await trainer.dispose()
        return measures
      }),
    )
  const divided = await measure(true)
  expect(divided[0]!.filter(Boolean)).toHaveLength(2)
  expect(divided).toEqual(await measure(false))
})

it('other numbers of processes, and one, continue from a checkpoint within an interval', async () => {
  const options = { optimizer: ire(adamw({ lr: 1e-2 }), { ...refreshes, beta: 0.5 }) }
  const store = memoryStore()
  const { saved } = store
  const resume = (size: number, shardOptimizer: boolean, totalSteps: number, everySteps: number) =>
    Promise.all(
      localGroup(size).map(async (group) => {
        const trainer = await create({ ...options, processGroup: group, shardOptimizer })
        await trainer.resume(store)
        const checkpoints = { store, everySteps }
        // As on the command line, only rank 0 has the store.
        await trainer.train(points, { totalSteps, ...(group.rank === 0 ? { checkpoints } : {}) })
        return flat(await trainer.parameters())
      }),
    )
  saved.set(0, (await create(options)).checkpoint())
  await resume(3, true, 9, 4)
  expect([...saved.keys()]).toEqual([0, 4, 5, 8, 9]) // an epoch has 5 steps
  saved.delete(9) // 8 is within the second epoch
  await resume(2, true, 14, 7)
  const [resumed] = await resume(1, false, 20, 100)
  const [uninterrupted] = await trainTogether(1, options, { totalSteps: 20 })
  expect(distance(resumed!, uninterrupted!.weights)).toBeLessThan(1e-5)
})

describe('shares of processes', () => {
  it('have about as many elements', () => {
    const owners = divideTensors({ a: 10, b: 1, c: 7, d: 4, e: 6, f: 3 }, 3)
    expect([...owners]).toEqual([
      ['a', 0],
      ['c', 1],
      ['e', 2],
      ['d', 2],
      ['f', 1],
      ['b', 0],
    ])
  })

  it('have every array of the state once', () => {
    const parameters = Object.fromEntries(['a', 'b', 'c', 'd'].map((name, i) => [name, new Float32Array(i + 1)]))
    const base = adamw()
    const optimizer = ire(sam(base, { variant: 'look' }))
    const rules = createRules(base)
    const shards = localGroup(3).map((group) => new GroupShard(group, parameters, { optimizer }, rules))
    const states = shards.map(({ holds }) => initialState(optimizer, parameters, rules, holds))
    for (const moment of ['firstMoment', 'secondMoment'])
      expect(states.flatMap(({ moments }) => Object.keys(moments[moment]!)).sort()).toEqual(['a', 'b', 'c', 'd'])
    // SAM computes its own in every process.
    for (const { moments } of states) expect(Object.keys(moments['gradientComponent']!)).toHaveLength(4)
    for (const name of Object.keys(parameters)) expect(shards.filter(({ owns }) => owns(name))).toHaveLength(1)
  })
})

describe('errors', () => {
  it.each([0, 1])('a gradient that is not finite in a tensor of process %i > is an error in all', async (owner) => {
    const results = localGroup(2).map(async (group) => {
      const parts = group.reduceScatter
      const reduceScatter: ProcessGroup['reduceScatter'] = async (tensors) => {
        await parts(tensors)
        if (group.rank === owner) tensors[owner]![0]![0] = Number.NaN
      }
      const trainer = await create({ processGroup: { ...group, reduceScatter }, shardOptimizer: true })
      await trainer.train(points, { totalSteps: 1 })
    })
    for (const [rank, result] of results.entries())
      await expect(result).rejects.toThrow(errorWith('not-finite', rank === owner ? 'at element 0' : 'another process'))
  })

  it('data with NaN > is an error in all processes', async () => {
    const bad: Dataset = {
      length: points.length,
      batch: async (indices) => spoil(await points.batch(indices)),
    }
    const results = localGroup(2).map(async (group) => {
      const trainer = await create({ processGroup: group, shardOptimizer: true })
      await trainer.train(bad, { totalSteps: 1 })
    })
    for (const result of results) await expect(result).rejects.toThrow(errorWith('invalid-data', 'step 0'))
  })

  it('checkpoint > before sync, and in another process than rank 0 > is refused', async () => {
    await Promise.all(
      localGroup(2).map(async (group) => {
        const trainer = await create({ processGroup: group, shardOptimizer: true })
        await trainer.train(points, { totalSteps: 1 })
        expect(() => trainer.checkpoint()).toThrow(errorWith('runtime', 'step 1'))
        await trainer.sync()
        if (group.rank === 0) expect(trainer.checkpoint().length).toBeGreaterThan(0)
        else expect(() => trainer.checkpoint()).toThrow(errorWith('runtime', 'rank 0'))
      }),
    )
  })

  it('measures of the mask, and other values than true and false > are refused', async () => {
    const [group] = localGroup(2)
    const trainer = await create({ processGroup: group, shardOptimizer: true, optimizer: ire(adamw()) })
    const measured = trainer.train(points, { totalSteps: 1, measureEvery: 1 })
    await expect(measured).rejects.toThrow(errorWith('invalid-option', 'measureEvery'))
    const wrong = create({ shardOptimizer: 'yes' as never })
    await expect(wrong).rejects.toThrow(errorWith('invalid-option', 'shardOptimizer'))
  })
})
