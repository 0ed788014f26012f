import { describe, expect, test } from 'vitest'
import { learningRateFactor, type Schedule } from '../../src/optim/schedule.js'

const factors = (schedule: Schedule, total: number, steps: number[]) =>
  steps.map((step) => Number(learningRateFactor(schedule, step, total).toFixed(12)))

describe('learningRateFactor', () => {
  test('constant', () => expect(factors({ kind: 'constant' }, 10, [0, 9, 50])).toEqual([1, 1, 1]))
  test('warm-up rises from 1 / warmup to 1', () =>
    expect(factors({ kind: 'constant', warmup: 4 }, 10, [0, 1, 3, 4])).toEqual([0.25, 0.5, 1, 1]))
  test('cosine to 0: 1 at the start, a half in the middle', () =>
    expect(factors({ kind: 'cosine' }, 8, [0, 2, 4, 6, 8, 9])).toEqual([
      1,
      Number(((1 + Math.SQRT1_2) / 2).toFixed(12)),
      0.5,
      Number(((1 - Math.SQRT1_2) / 2).toFixed(12)),
      0,
      0,
    ]))
  test('cosine to a floor after a warm-up', () =>
    expect(factors({ kind: 'cosine', warmup: 2, floor: 0.2 }, 12, [0, 1, 2, 7, 12, 99])).toEqual([
      0.5, 1, 1, 0.6, 0.2, 0.2,
    ]))
  test('linear', () =>
    expect(factors({ kind: 'linear', warmup: 2, floor: 0.5 }, 6, [0, 1, 2, 4, 6])).toEqual([0.5, 1, 1, 0.75, 0.5]))
  test('a warm-up as long as the run', () => expect(factors({ kind: 'cosine', warmup: 4 }, 4, [3, 4])).toEqual([1, 0]))

  const refused: [string, string, RegExp][] = [
    ['kind', '{ "kind": "step" }', /'kind' is 'step'; it must be 'constant', 'cosine' or 'linear'/],
    ['warmup', '{ "kind": "cosine", "warmup": -1 }', /'warmup' is -1/],
    ['floor', '{ "kind": "linear", "floor": 2 }', /'floor' is 2; it must be a number in \[0, 1\]/],
    ['floor of a constant', '{ "kind": "constant", "floor": 0.1 }', /no option 'floor'/],
  ]
  for (const [name, text, message] of refused)
    test(`refuses ${name}`, () => {
      expect(() => learningRateFactor(JSON.parse(text), 0, 10)).toThrow(message)
    })
})
