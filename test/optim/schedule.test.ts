import { describe, expect, test } from 'vitest'
import { learningRateFactor, type Schedule } from '../../src/optim/schedule.js'

const range = (n: number) => Array.from({ length: n }, (_, i) => i)
const factors = (schedule: Schedule, total: number, steps: number[]) =>
  steps.map((step) => Number(learningRateFactor(schedule, step, total).toFixed(12)))

describe('learningRateFactor', () => {
  test('constant', () => expect(factors({ kind: 'constant' }, 10, [0, 9, 50])).toEqual([1, 1, 1]))
  test('warm-up rises from 1 / warmup to 1', () =>
    expect(factors({ kind: 'constant', warmup: 4 }, 10, [0, 1, 3, 4])).toEqual([0.25, 0.5, 1, 1]))
  test('cosine to 0: 1 at the start, 0.5 in the middle', () =>
    expect(factors({ kind: 'cosine' }, 8, [0, 2, 4, 6, 8, 9])).toEqual([
      1,
      Number(((1 + Math.SQRT1_2) / 2).toFixed(12)),
      0.5,
      Number(((1 - Math.SQRT1_2) / 2).toFixed(12)),
      0,
      0,
    ]))
  test('cosine to a minimum after a warm-up', () =>
    expect(factors({ kind: 'cosine', warmup: 2, floor: 0.2 }, 12, [0, 1, 2, 7, 12, 99])).toEqual([
      0.5, 1, 1, 0.6, 0.2, 0.2,
    ]))
  test('linear', () =>
    expect(factors({ kind: 'linear', warmup: 2, floor: 0.5 }, 6, [0, 1, 2, 4, 6])).toEqual([0.5, 1, 1, 0.75, 0.5]))
  test('warm-up as long as the run', () => expect(factors({ kind: 'cosine', warmup: 4 }, 4, [3, 4])).toEqual([1, 0]))
  test('drops at given steps, also during the warm-up', () =>
    expect(factors({ kind: 'step', at: [2, 5], factor: 0.5, warmup: 4 }, 9, [0, 1, 2, 3, 4, 5, 8])).toEqual([
      0.25, 0.5, 0.375, 0.5, 0.5, 0.25, 0.25,
    ]))
  test('exponential falls from the end of the warm-up', () =>
    expect(factors({ kind: 'exponential', factor: 0.5, warmup: 2 }, 9, [0, 1, 2, 3, 5])).toEqual([
      0.5, 1, 1, 0.5, 0.125,
    ]))
  test('inverse square root', () =>
    expect(factors({ kind: 'inverse-sqrt', warmup: 4 }, 9, [0, 3, 4, 16, 64])).toEqual([0.25, 1, 1, 0.5, 0.25]))
  test('plateau has a warm-up only; its drops are in its state', () =>
    expect(factors({ kind: 'plateau', warmup: 2 }, 9, [0, 1, 2, 8])).toEqual([0.5, 1, 1, 1]))
})

/** Schedulers as the PyTorch manual states them for successive calls of `step()`: each rate from the one before. */
const recursions: Record<string, { schedule: Schedule; total: number; next: (rate: number, t: number) => number }> = {
  'CosineAnnealingLR(T_max=20, eta_min=0.1)': {
    schedule: { kind: 'cosine', floor: 0.1 },
    total: 20,
    next: (rate, t) =>
      0.1 + ((rate - 0.1) * (1 + Math.cos(((t + 1) * Math.PI) / 20))) / (1 + Math.cos((t * Math.PI) / 20)),
  },
  'LinearLR(start_factor=1, end_factor=0.25, total_iters=16)': {
    schedule: { kind: 'linear', floor: 0.25 },
    total: 16,
    next: (rate, t) => (t < 16 ? rate * (1 - 0.75 / (16 + t * -0.75)) : rate),
  },
  'StepLR(step_size=3, gamma=0.1)': {
    schedule: { kind: 'step', every: 3 },
    total: 20,
    next: (rate, t) => ((t + 1) % 3 === 0 ? rate * 0.1 : rate),
  },
  'MultiStepLR(milestones=[2, 3, 11], gamma=0.7)': {
    schedule: { kind: 'step', at: [2, 3, 11], factor: 0.7 },
    total: 20,
    next: (rate, t) => ([2, 3, 11].includes(t + 1) ? rate * 0.7 : rate),
  },
  'ExponentialLR(gamma=0.9)': {
    schedule: { kind: 'exponential', factor: 0.9 },
    total: 20,
    next: (rate) => rate * 0.9,
  },
}

describe('schedules equal the recursions of torch.optim.lr_scheduler', () => {
  for (const [name, { schedule, total, next }] of Object.entries(recursions))
    test(name, () => {
      let rate = 1
      for (let t = 0; t < total; t++) {
        expect(learningRateFactor(schedule, t, total), `step ${t}`).toBeCloseTo(rate, 12)
        rate = next(rate, t)
      }
      expect(learningRateFactor(schedule, total, total)).toBeCloseTo(rate, 12)
    })
})

test('inverse-sqrt > equals the schedule of "Attention is all you need" up to its peak rate', () => {
  const model = (step: number) => Math.min(step ** -0.5, step * 40 ** -1.5) // step_num counts from 1
  for (const step of range(40)) expect(factor(step)).toBeCloseTo(model(step + 1) / model(40), 12)
  for (const step of [40, 41, 77, 4000]) expect(factor(step)).toBeCloseTo(model(step) / model(40), 12)
  function factor(step: number) {
    return learningRateFactor({ kind: 'inverse-sqrt', warmup: 40 }, step, 5000)
  }
})

/**
 * `OneCycleLR(max_lr=1, total_steps, pct_start, anneal_strategy, div_factor, final_div_factor)`, from its manual page.
 */
function oneCycleRates(total: number, pctStart: number, anneal: 'cos' | 'linear', div: number, finalDiv: number) {
  const initial = 1 / div
  const phases = [
    { end: pctStart * total - 1, from: initial, to: 1 },
    { end: total - 1, from: 1, to: initial / finalDiv },
  ]
  return range(total).map((step) => {
    let begin = 0
    for (const [i, { end, from, to }] of phases.entries()) {
      if (step <= end || i === phases.length - 1) {
        const pct = (step - begin) / (end - begin)
        return anneal === 'linear' ? (to - from) * pct + from : to + ((from - to) / 2) * (Math.cos(Math.PI * pct) + 1)
      }
      begin = end
    }
    throw new RangeError('unreachable')
  })
}

describe('one-cycle equals OneCycleLR', () => {
  for (const total of [5, 10, 33, 100])
    for (const pctStart of [0.25, 0.3, 0.5, 1])
      for (const [anneal, torchName] of [
        ['cosine', 'cos'],
        ['linear', 'linear'],
      ] as const)
        test(`${total} steps, ${pctStart} of them rising, ${anneal}`, () => {
          const schedule = { kind: 'one-cycle', pctStart, anneal, div: 10, finalDiv: 100 } as const
          const got = range(total).map((step) => learningRateFactor(schedule, step, total))
          for (const [step, rate] of oneCycleRates(total, pctStart, torchName, 10, 100).entries())
            expect(got[step], `step ${step}`).toBeCloseTo(rate, 12)
          expect(learningRateFactor(schedule, total + 5, total)).toBe(got.at(-1))
        })
  test('defaults > are 25, 1e4, 0.3, cosine', () => {
    for (const [step, rate] of oneCycleRates(60, 0.3, 'cos', 25, 1e4).entries())
      expect(learningRateFactor({ kind: 'one-cycle' }, step, 60)).toBeCloseTo(rate, 12)
  })
  test('run too short for a rise > starts at the peak', () =>
    expect(factors({ kind: 'one-cycle', pctStart: 0.1 }, 10, [0])).toEqual([1]))
})

describe("per: 'epoch'", () => {
  const schedules: Schedule[] = [
    { kind: 'cosine', warmup: 2, floor: 0.1, per: 'epoch' },
    { kind: 'linear', per: 'epoch' },
    { kind: 'step', every: 2, per: 'epoch' },
    { kind: 'exponential', factor: 0.8, warmup: 1, per: 'epoch' },
  ]
  for (const schedule of schedules)
    test(`${schedule.kind} > one factor per epoch`, () => {
      const perStep = { ...schedule, per: 'step' } as Schedule
      for (const step of range(7 * 5))
        expect(learningRateFactor(schedule, step, 35, 5)).toBe(learningRateFactor(perStep, Math.floor(step / 5), 7))
    })
  test('shortened last epoch > counts as one', () =>
    expect(learningRateFactor({ kind: 'linear', per: 'epoch' }, 31, 33, 5)).toBeCloseTo(1 / 7, 12))
  test('steps per epoch missing > rejects', () => {
    const factor = () => learningRateFactor({ kind: 'cosine', per: 'epoch' }, 0, 10)
    expect(factor).toThrow(/schedule cosine: option 'per' is 'epoch'; it must be 'step' for data of no known length/)
    expect(factor).toThrow(expect.objectContaining({ code: 'invalid-option' }))
  })
})

describe('run without a fixed length', () => {
  for (const schedule of [{ kind: 'cosine' }, { kind: 'linear' }, { kind: 'one-cycle' }] as const)
    test(`${schedule.kind} > rejects`, () => {
      expect(() => learningRateFactor(schedule, 0, Infinity)).toThrow(
        /'totalSteps' is Infinity; .* set totalSteps or totalEpochs/,
      )
    })
  const others: Schedule[] = [
    { kind: 'constant', warmup: 3 },
    { kind: 'step', every: 2 },
    { kind: 'exponential', factor: 0.5 },
    { kind: 'inverse-sqrt', warmup: 5 },
    { kind: 'plateau' },
  ]
  for (const schedule of others)
    test(`${schedule.kind} > is accepted`, () => {
      expect(learningRateFactor(schedule, 7, Infinity)).toBe(learningRateFactor(schedule, 7, 100))
    })
})

describe('invalid schedules > rejects', () => {
  const refused: [string, string, RegExp][] = [
    ['kind', '{ "kind": "steps" }', /'kind' is 'steps'; it must be one of 'constant', 'cosine', .*'plateau'/],
    ['a kind every object has', '{ "kind": "toString" }', /'kind' is 'toString'/],
    ['warmup', '{ "kind": "cosine", "warmup": -1 }', /'warmup' is -1/],
    ['floor', '{ "kind": "linear", "floor": 2 }', /'floor' is 2; it must be a number in \[0, 1\]/],
    ['floor of a constant', '{ "kind": "constant", "floor": 0.1 }', /no option 'floor'/],
    ['per', '{ "kind": "linear", "per": "day" }', /'per' is 'day'; it must be 'step' or 'epoch'/],
    ['per of a constant', '{ "kind": "constant", "per": "epoch" }', /no option 'per'/],
    ['neither every nor at', '{ "kind": "step" }', /'every' is undefined; it must be given when `at` is not/],
    ['both every and at', '{ "kind": "step", "every": 2, "at": [3] }', /'every' is 2; it must be .* left out when/],
    ['every', '{ "kind": "step", "every": 0 }', /'every' is 0; it must be an integer >= 1/],
    ['at', '{ "kind": "step", "at": [1, 2.5] }', /'at' is 2.5/],
    ['at of one', '{ "kind": "step", "at": 3 }', /'at' is 3; it must be a list/],
    ['no factor', '{ "kind": "exponential" }', /'factor' is undefined/],
    ['no time scale', '{ "kind": "inverse-sqrt" }', /'warmup' is undefined; it must be an integer >= 1/],
    ['div', '{ "kind": "one-cycle", "div": 0.5 }', /'div' is 0.5; it must be a number >= 1/],
    ['anneal', '{ "kind": "one-cycle", "anneal": "cos" }', /'anneal' is 'cos'/],
    ['warmup of a cycle', '{ "kind": "one-cycle", "warmup": 3 }', /no option 'warmup'/],
    ['mode', '{ "kind": "plateau", "mode": "less" }', /'mode' is 'less'; it must be 'min' or 'max'/],
    ['patience', '{ "kind": "plateau", "patience": -1 }', /'patience' is -1/],
  ]
  for (const [name, text, message] of refused)
    test(name, () => {
      const factor = () => learningRateFactor(JSON.parse(text), 0, 10, 5)
      expect(factor).toThrow(message)
      expect(factor).toThrow(expect.objectContaining({ code: 'invalid-option' }))
    })
})
