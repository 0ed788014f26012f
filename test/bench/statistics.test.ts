import { expect, test } from 'vitest'
import { disagreementOf, medianInterval, remainingSeconds, spreadOf } from '../../tools/bench/statistics.js'

test('spread of an odd and of an even number of values', () => {
  expect(spreadOf([3, 1, 2])).toEqual({ median: 2, least: 1, most: 3 })
  expect(spreadOf([4, 1, 2, 3])).toEqual({ median: 2.5, least: 1, most: 4 })
})

test('interval of the median: at least 95 % by the binomial distribution, and at most one value wider than that', () => {
  for (const count of [6, 7, 8, 9, 12, 17, 20, 25, 50, 100]) {
    const values = Array.from({ length: count }, (_, i) => i).reverse()
    const { median, low, high } = medianInterval(values)
    expect(median).toBe((count - 1) / 2)
    expect(high).toBe(count - 1 - low)
    expect(coverage(count, low)).toBeGreaterThanOrEqual(0.95)
    expect(coverage(count, low + 2)).toBeLessThan(0.95)
  }
})

/** Probability that at least `below` + 1 of `count` values lie on either side of the median. */
function coverage(count: number, below: number): number {
  let [term, sum] = [0.5 ** count, 0]
  for (let k = 0; k <= below; k++) {
    sum += term
    term *= (count - k) / (k + 1)
  }
  return 1 - 2 * sum
}

test('the first loss and the later ones are compared separately', () => {
  const { first, later } = disagreementOf([1.01, 2, 2.2], [1, 2, 2])
  expect(first).toBeCloseTo(0.01)
  expect(later).toBeCloseTo(0.1)
  expect(disagreementOf([2], [2, 3])).toEqual({ first: 0, later: 0 })
})

test('a loss that is not finite differs infinitely', () => {
  expect(disagreementOf([1, Number.NaN], [1, 2]).later).toBe(Number.POSITIVE_INFINITY)
  expect(disagreementOf([Number.POSITIVE_INFINITY], [1]).first).toBe(Number.POSITIVE_INFINITY)
})

test('the rest takes as long per part as what is done', () => {
  expect(remainingSeconds(30, 3, 5)).toBe(20)
  expect(remainingSeconds(30, 5, 5)).toBe(0)
})
