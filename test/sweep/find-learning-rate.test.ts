import { expect, test } from 'vitest'
import { adamw, crossEntropy, encodeModel, findLearningRate, ire, scheduleFreeSgd, sgd } from '../../src/index.js'
import { suggestRate } from '../../src/sweep/find-learning-rate.js'
import { errorWith } from '../thrown.js'
import { clusters, smallMlp } from '../train/problem.js'
import { startTrainers, train } from '../train/small-trainer.js'

const { create, runtime } = startTrainers()
const data = clusters(120, [6])

test('suggestRate > is the steepest rate before the least loss, of noisy losses', () => {
  const logs = Array.from({ length: 100 }, (_, i) => -7 + (8 * i) / 99)
  const noise = (i: number) => 0.02 * Math.sin(7 * i)
  // Falls around 1e-3, rises around 1e-0.5.
  const loss = (x: number) => 2 - 1 / (1 + Math.exp(-4 * (x + 3))) + 5 / (1 + Math.exp(-8 * (x + 0.5)))
  const rates = logs.map((x) => 10 ** x)
  const losses = logs.map((x, i) => loss(x) + noise(i))
  const { suggestion, minimum } = suggestRate(rates, losses, 8)
  expect(Math.log10(suggestion!)).toBeCloseTo(-3, 0)
  expect(Math.log10(minimum!)).toBeCloseTo(-1.5, 0)
  expect(
    suggestRate(
      rates,
      rates.map((_, i) => i),
      8,
    ),
  ).toMatchObject({ suggestion: null, minimum: null })
})

test.each([
  ['sgd', sgd({ lr: 0.01 })],
  ['adamw with ire', ire(adamw({ lr: 1e-3 }), { kappa: 2, gamma: 0.5, interval: 5 })],
])('findLearningRate > %s > trains better than a rate 30 times lower or higher', async (_, optimizer) => {
  const model = smallMlp()
  const before = encodeModel(model)
  // A quarter of eight examples would make the mask a matter of chance.
  const options = { batchSize: 8, loss: crossEntropy(), optimizer, runtime, curvatureShare: 1 }
  const { suggestion, minimum, diverged, points } = await findLearningRate(model, data, { ...options, to: 1e4 })
  expect(encodeModel(model)).toEqual(before)
  expect(suggestion).toBeLessThan(minimum!)
  expect(points[0]!.lr).toBeCloseTo(1e-7, 12)
  expect([diverged, points.length < 100]).toEqual([true, true])
  const lossAt = async (lr: number) => {
    const inner = optimizer.kind === 'ire' ? ire(adamw({ lr }), { kappa: 2, gamma: 0.5, interval: 5 }) : sgd({ lr })
    const trainer = await create({ optimizer: inner, curvatureShare: 1 })
    // A run that diverges ends with an error.
    const metrics = await train(trainer, data, { totalSteps: 30, validation: data }).catch(() => [])
    await trainer.dispose()
    return metrics.at(-1)?.validation?.loss ?? Number.POSITIVE_INFINITY
  }
  const [own, low, high] = [await lossAt(suggestion!), await lossAt(suggestion! / 30), await lossAt(suggestion! * 30)]
  expect(own).toBeLessThan(low)
  expect(own).toBeLessThan(high)
})

test('findLearningRate > rates of groups rise in proportion, and a signal ends the test', async () => {
  const signal = { aborted: false }
  const seen: number[] = []
  const { points, diverged } = await findLearningRate(smallMlp(), data, {
    ...{
      loss: crossEntropy(),
      optimizer: sgd({ lr: 0.1 }),
      runtime,
      batchSize: 8,
      from: 1e-3,
      to: 1,
      steps: 10,
      signal,
    },
    groups: [{ tensors: '*bias', lr: 0.2 }],
    onStep({ lr }) {
      seen.push(lr)
      signal.aborted = seen.length === 7
    },
  })
  expect(diverged).toBe(false)
  expect(points.map(({ lr }) => lr)).toEqual(seen)
  for (const [i, lr] of seen.entries()) expect(lr).toBeCloseTo(1e-3 * 1000 ** (i / 9), 6)
  expect(seen).toHaveLength(7)
})

test('findLearningRate > onStep ends the test as it ends fit', async () => {
  const options = { loss: crossEntropy(), optimizer: sgd({ lr: 0.1 }), runtime, batchSize: 8, from: 1e-3, to: 1 }
  const { points, diverged } = await findLearningRate(smallMlp(), data, {
    ...options,
    onStep: async ({ step }) => (step === 4 ? 'stop' : undefined),
  })
  expect([points.length, diverged]).toEqual([5, false])
})

test('findLearningRate > refuses impossible ranges, and optimizers without a schedule', async () => {
  const options = { loss: crossEntropy(), optimizer: sgd({ lr: 0.1 }), runtime }
  for (const [changes, text] of [
    [{ from: 0 }, "'from'"],
    [{ from: 1, to: 0.1 }, "'to'"],
    [{ steps: 2 }, "'steps'"],
    [{ optimizer: scheduleFreeSgd({ lr: 0.1 }) }, 'schedule-free-sgd'],
  ] as const)
    await expect(findLearningRate(smallMlp(), data, { ...options, ...changes })).rejects.toEqual(
      errorWith('invalid-option', text),
    )
})

test('findLearningRate > a NaN in the data > is not taken for a loss that diverges', async () => {
  const batch = async (indices: ArrayLike<number>) => {
    const tensors = await data.batch(indices)
    const x = Float32Array.from(tensors['x']!.data as Float32Array)
    const row = Array.from(indices).indexOf(100)
    if (row >= 0) x[6 * row] = Number.NaN
    return { ...tensors, x: { ...tensors['x']!, data: x } }
  }
  const options = { batchSize: 8, loss: crossEntropy(), optimizer: sgd({ lr: 0.01 }), runtime }
  await expect(findLearningRate(smallMlp(), { length: 120, batch }, options)).rejects.toEqual(
    errorWith('invalid-data', "'x' has NaN in example 100"),
  )
})
