import { describe, expect, test } from 'vitest'
import { type PlateauSchedule, plateauStart, plateauStep } from '../../src/optim/plateau.js'
import { Random } from '../../src/util/random.js'

/** `ReduceLROnPlateau` with threshold_mode='rel', from its manual page, on the rate 1. */
class ReduceOnPlateau {
  rate = 1
  private best: number
  private bad = 0
  private cooling = 0
  private readonly o: Required<Omit<PlateauSchedule, 'kind' | 'warmup' | 'metric'>>
  constructor(options: Omit<PlateauSchedule, 'kind'>) {
    this.o = { mode: 'min', factor: 0.1, patience: 10, threshold: 1e-4, cooldown: 0, floor: 0, ...options }
    this.best = this.o.mode === 'min' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY
  }
  step(value: number): number {
    const { mode, threshold, cooldown, patience, factor, floor } = this.o
    const better = mode === 'min' ? value < this.best * (1 - threshold) : value > this.best * (1 + threshold)
    if (better) this.best = value
    this.bad = better ? 0 : this.bad + 1
    if (this.cooling > 0) {
      this.cooling--
      this.bad = 0
    }
    if (this.bad > patience) {
      this.rate = Math.max(this.rate * factor, floor)
      this.cooling = cooldown
      this.bad = 0
    }
    return this.rate
  }
}

const settings: Omit<PlateauSchedule, 'kind'>[] = [
  {},
  { patience: 0, factor: 0.5 },
  { patience: 2, factor: 0.5, cooldown: 3 },
  { patience: 1, factor: 0.5, threshold: 0.1, floor: 0.2 },
  { mode: 'max', patience: 1, factor: 0.3, threshold: 0.05, cooldown: 1 },
]

describe('plateauStep equals ReduceLROnPlateau', () => {
  for (const [i, options] of settings.entries())
    test(JSON.stringify(options), () => {
      const random = new Random(i)
      const schedule = { kind: 'plateau', ...options } as const
      const reference = new ReduceOnPlateau(options)
      let state = plateauStart
      const rates = new Set<number>()
      for (let t = 0; t < 120; t++) {
        const trend = options.mode === 'max' ? 2 - Math.exp(-t / 15) : 1 + Math.exp(-t / 15)
        const value = trend + 0.05 * random.normal()
        state = plateauStep(schedule, JSON.parse(JSON.stringify(state)), value)
        rates.add(state.factor)
        expect(state.factor, `evaluation ${t}`).toBe(reference.step(value))
      }
      expect(rates.size).toBeGreaterThan(2)
    })

  test.each([
    [undefined, undefined, 0.5],
    ['accuracy', undefined, 1],
    ['accuracy', 'min', 0.5],
    ['task/mae', undefined, 0.5],
    ['task/mae', 'max', 1],
  ] as const)('values of %s that rise, with the mode %s > the factor %d', (metric, mode, factor) => {
    const schedule = {
      kind: 'plateau',
      factor: 0.5,
      patience: 1,
      ...(metric && { metric }),
      ...(mode && { mode }),
    } as const
    const state = [0.5, 0.6, 0.7].reduce((before, value) => plateauStep(schedule, before, value), plateauStart)
    expect(state.factor).toBe(factor)
  })

  test('the given state > is unchanged', () => {
    const state = Object.freeze({ factor: 1, best: 1, bad: 3, cooldown: 0 })
    expect(plateauStep({ kind: 'plateau', patience: 3 }, state, 2)).toEqual({
      factor: 0.1,
      best: 1,
      bad: 0,
      cooldown: 0,
    })
  })
  test('NaN and infinities > are no improvement', () => {
    for (const value of [Number.NaN, Infinity, -Infinity])
      expect(plateauStep({ kind: 'plateau' }, plateauStart, value)).toEqual({ ...plateauStart, bad: 1 })
  })
  test('negative values > the threshold is relative to the magnitude', () => {
    const from = (value: number, mode: 'min' | 'max') =>
      plateauStep({ kind: 'plateau', threshold: 0.1, mode }, { ...plateauStart, best: -1 }, value).best
    expect([from(-1.05, 'min'), from(-1.2, 'min')]).toEqual([-1, -1.2])
    expect([from(-0.95, 'max'), from(-0.8, 'max')]).toEqual([-1, -0.8])
  })
  test('factor below the minimum > is unchanged', () =>
    expect(
      plateauStep({ kind: 'plateau', patience: 0, floor: 0.5 }, { factor: 0.2, best: 1, bad: 0, cooldown: 0 }, 2)
        .factor,
    ).toBe(0.2))
})
