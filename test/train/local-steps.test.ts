import { describe, expect, it } from 'vitest'
import { batches, Random } from '../../src/data/index.js'
import {
  adamw,
  adamw8bit,
  type Dataset,
  type FitOptions,
  ire,
  type LocalStepsOptions,
  type Model,
  type ProcessGroup,
  prodigy,
  scheduleFreeAdamw,
  sgd,
  type TrainerOptions,
} from '../../src/index.js'
import { errorWith } from '../thrown.js'
import { localGroup } from './local-group.js'
import { memoryStore } from './memory-store.js'
import { clusters, flat, linear, normal, smallConvnet, smallMlp, softmaxOf } from './problem.js'
import { startTrainers, trainAndDispose } from './small-trainer.js'

const { create } = startTrainers()
// The last batch of an epoch has 3 examples: with 4 processes one of them has none.
const points = clusters(35, [6])

interface Problem {
  readonly data?: Dataset
  readonly model?: Model
}

/** Trains with each member of a group, and returns the members' weights and metrics. */
const trainTogether = (
  groups: readonly (ProcessGroup | undefined)[],
  options: Partial<TrainerOptions>,
  fit: FitOptions,
  { data = points, model = smallMlp() }: Problem = {},
) =>
  Promise.all(
    groups.map(async (group) => trainAndDispose(await create({ ...options, processGroup: group }, model), data, fit)),
  )

/** Cross-entropy and gradient of `linear`, in plain arithmetic. */
function gradientOf(w: readonly number[], rows: ArrayLike<number>, labels: readonly number[]) {
  const gradient = w.map(() => 0)
  let loss = 0
  for (const [n, label] of labels.entries()) {
    const x = Array.from({ length: 6 }, (_, i) => rows[6 * n + i]!)
    const p = softmaxOf([0, 1, 2].map((c) => x.reduce((sum, value, i) => sum + value * w[3 * i + c]!, 0)))
    loss -= Math.log(p[label]!) / labels.length
    for (const [i, value] of x.entries())
      for (const c of [0, 1, 2]) gradient[3 * i + c]! += (value * (p[c]! - (c === label ? 1 : 0))) / labels.length
  }
  return { loss, gradient }
}

const meanOf = (lists: readonly (readonly number[])[]): number[] =>
  lists[0]!.map((_, i) => lists.reduce((sum, list) => sum + list[i]!, 0) / lists.length)

/**
 * DiLoCo with SGD as the inner optimizer, whose momenta are averaged too, in plain arithmetic. Returns the weights, and
 * the mean loss of the examples of the last epoch.
 */
async function diloco(
  size: number,
  { steps, outerLr = 0.7, outerMomentum = 0.9 }: LocalStepsOptions,
  { lr, momentum, epochs }: { lr: number; momentum: number; epochs: number },
) {
  let weights = [...(normal(new Random(1), [6, 3]).data as Float32Array)]
  const inner = Array.from({ length: size }, () => ({ w: weights, m: weights.map(() => 0) }))
  let outer = weights.map(() => 0)
  let taken = 0
  let loss = 0
  let count = 0
  for (let epoch = 0; epoch < epochs; epoch++) {
    loss = 0
    count = 0
    const parts = await Promise.all(
      inner.map(async (_, index) => {
        const shuffle = new Random(0).stream('order')
        const all: { x: ArrayLike<number>; labels: number[]; counts: boolean; last: boolean }[] = []
        for await (const batch of batches(points, { batchSize: 8, shuffle, epoch, part: { index, of: size } })) {
          const { x, labels } = batch.tensors
          all.push({
            x: x!.data as Float32Array,
            labels: Array.from(labels!.data as ArrayLike<number | bigint>, Number),
            counts: batch.first < batch.whole,
            last: batch.last,
          })
        }
        return all
      }),
    )
    for (const [n, { last }] of parts[0]!.entries()) {
      for (const [rank, own] of inner.entries()) {
        const { x, labels, counts } = parts[rank]![n]!
        const result = gradientOf(own.w, x, labels)
        if (counts) {
          loss += result.loss * labels.length
          count += labels.length
        }
        own.m = own.m.map((m, i) => momentum * m + result.gradient[i]!)
        own.w = own.w.map((w, i) => w - lr * own.m[i]!)
      }
      taken++
      if (taken < steps && !last) continue
      const d = meanOf(inner.map(({ w }) => w.map((value, i) => weights[i]! - value)))
      outer = outer.map((m, i) => outerMomentum * m + d[i]!)
      weights = weights.map((w, i) => w - outerLr * (d[i]! + outerMomentum * outer[i]!))
      const m = meanOf(inner.map(({ m }) => m))
      for (const own of inner) Object.assign(own, { w: weights, m })
      taken = 0
    }
  }
  return { weights, loss: loss / count }
}

const settings: readonly (readonly [size: number, LocalStepsOptions])[] = [
  [1, { steps: 2 }],
  [2, { steps: 3 }],
  [2, { steps: 1, outerLr: 1, outerMomentum: 0 }],
  [4, { steps: 2, outerLr: 0.5, outerMomentum: 0.5 }],
]

const cases: readonly (readonly [string, Partial<TrainerOptions>, Problem])[] = [
  [
    'IRE, an average of the weights, 16 bits',
    {
      optimizer: ire(adamw({ lr: 1e-2 }), { kappa: 2, gamma: 0.7, interval: 4, beta: 0.5 }),
      ema: 0.9,
      gradientCompression: 'bfloat16',
    },
    {},
  ],
  ['IRE on the gradients of steps', { optimizer: ire(sgd({ lr: 0.1 }), { interval: 4, curvature: 'empirical' }) }, {}],
  ['Schedule-Free AdamW', { optimizer: scheduleFreeAdamw({ lr: 1e-2 }) }, {}],
  ['Prodigy', { optimizer: prodigy(), localSteps: { steps: 3, outerLr: 1, outerMomentum: 0 } }, {}],
  ['trained norms', { batchNorm: 'trained' }, { data: clusters(19, [2, 8, 8]), model: smallConvnet() }],
]

describe('local steps', () => {
  it.each(settings)('of %i processes are those of DiLoCo: %o', async (size, localSteps) => {
    const expected = await diloco(size, localSteps, { lr: 0.05, momentum: 0.9, epochs: 3 })
    const options = { optimizer: sgd({ lr: 0.05, momentum: 0.9 }), localSteps }
    const groups = size === 1 ? [undefined] : localGroup(size)
    const together = await trainTogether(groups, options, { totalEpochs: 3 }, { model: linear() })
    for (const { weights, last } of together) {
      expect(weights).toEqual(together[0]!.weights)
      expect(Math.max(...weights.map((weight, i) => Math.abs(weight - expected.weights[i]!)))).toBeLessThan(1e-5)
      expect(last.count).toBe(35)
      expect(last.loss).toBeCloseTo(expected.loss, 5)
    }
  })

  it.each(cases)('%s: all processes end with the same weights, and validate alike', async (_, options, problem) => {
    const fit = { totalSteps: 17, evaluateEvery: 11, validation: problem.data ?? points }
    const together = await trainTogether(localGroup(3), { localSteps: { steps: 3 }, ...options }, fit, problem)
    for (const { weights, last } of together) {
      expect(weights).toEqual(together[0]!.weights)
      expect(last.validation).toEqual(together[0]!.last.validation)
      expect(last.validation!.loss).toBeLessThan(5)
    }
  })

  it('send nothing within a round', async () => {
    const calls: number[] = []
    let count = 0
    const counted = (group: ProcessGroup): ProcessGroup => ({
      ...group,
      allReduce(arrays) {
        count++
        return group.allReduce(arrays)
      },
    })
    const [first, second] = localGroup(2)
    const onStep = () => void calls.push(count)
    await Promise.all([
      trainTogether([counted(first!)], { localSteps: { steps: 3 } }, { totalSteps: 9, evaluateEvery: 9, onStep }),
      trainTogether([second], { localSteps: { steps: 3 } }, { totalSteps: 9, evaluateEvery: 9 }),
    ])
    expect(calls[1]).toBe(calls[0])
    expect(calls[2]).toBeGreaterThan(calls[1]!)
    expect(calls[4]).toBe(calls[3])
    expect(calls[5]).toBeGreaterThan(calls[4]!)
  })

  it("resume exactly from a checkpoint that was due within a round, and end after a round on 'stop' and a signal", async () => {
    const store = memoryStore()
    const options: Partial<TrainerOptions> = {
      optimizer: ire(adamw({ lr: 1e-2 }), { kappa: 2, gamma: 0.7, interval: 4 }),
      localSteps: { steps: 3 },
      ema: 0.9,
    }
    const fit = { totalSteps: 20, evaluateEvery: 10 }
    const [whole] = await trainTogether(localGroup(2), options, fit)
    const aborted = { aborted: false }
    // Step 3 ends the first round. A signal and 'stop' of rank 1 within the second one end all after it.
    for (const interrupt of [{ signal: aborted }, {}] as readonly Pick<FitOptions, 'signal'>[]) {
      store.saved.clear()
      const steps = await Promise.all(
        localGroup(2).map(async (group) => {
          const trainer = await create({ ...options, processGroup: group })
          const isRank1 = group.rank === 1
          await trainer.train(points, {
            ...fit,
            ...(isRank1 ? interrupt : {}),
            checkpoints: { store, everySteps: 2 },
            onStep: ({ step }) => {
              if (step !== 3 || !isRank1) return undefined
              expect(() => trainer.checkpoint()).toThrow(errorWith('runtime', 'round'))
              aborted.aborted = true
              return 'signal' in interrupt ? undefined : 'stop'
            },
          })
          return trainer.step
        }),
      )
      expect(steps).toEqual([6, 6])
      expect([...store.saved.keys()]).toEqual([3, 6])
      const resumed = await Promise.all(
        localGroup(2).map(async (group) => {
          const trainer = await create({ ...options, processGroup: group })
          await trainer.resume(store)
          await trainer.train(points, fit)
          return flat(await trainer.parameters())
        }),
      )
      for (const weights of resumed) expect(weights).toEqual(whole!.weights)
      aborted.aborted = false
    }
    // Any number of processes can resume: one, too.
    const alone = await create(options)
    await alone.resume(store)
    await alone.train(points, { totalSteps: 12 })
    expect(alone.step).toBe(12)
    const other = await create({ ...options, localSteps: { steps: 4 } })
    await expect(other.resume(store)).rejects.toThrow(errorWith('checkpoint', 'localSteps.steps'))
  })

  it('refuse values that have no meaning, and moments in 8 bits', async () => {
    for (const [localSteps, name] of [
      [{ steps: 0 }, 'steps'],
      [{ steps: 2, outerLr: -1 }, 'outerLr'],
      [{ steps: 2, outerMomentum: 1 }, 'outerMomentum'],
      [{ steps: 2, momentum: 0.9 } as LocalStepsOptions, 'momentum'],
    ] as const)
      await expect(create({ localSteps })).rejects.toThrow(errorWith('invalid-option', name))
    const optimizer = adamw8bit({ minSize: 0 })
    await expect(create({ optimizer, localSteps: { steps: 2 } })).rejects.toThrow(errorWith('invalid-option', '8 bits'))
    await expect(create({ optimizer: prodigy(), localSteps: { steps: 2 } })).rejects.toThrow(
      errorWith('invalid-option', 'outerLr: 1'),
    )
  })
})
