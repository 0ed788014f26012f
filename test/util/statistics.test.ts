import { expect, test } from 'vitest'
import {
  estimateDifference,
  estimateMean,
  estimatePairedDifference,
  median,
  studentQuantile,
  upperMedian,
} from '../../src/util/statistics.js'

test.each([
  [1, 12.7062],
  [2, 4.30265],
  [2.5, 3.5746548], // scipy.stats.t.ppf(0.975, 2.5)
  [10, 2.228139],
  [300, 1.967903],
])('studentQuantile > %s degrees of freedom > %s', (freedom, quantile) => {
  expect(Math.abs(studentQuantile(freedom) / quantile - 1)).toBeLessThan(1e-4)
})

test('estimateMean > one value > no interval', () => {
  expect(estimateMean([3])).toEqual({ n: 1, value: 3, half: Number.NaN })
  const { value, half } = estimateMean([1, 2, 3, 4])
  expect([value, half]).toEqual([2.5, expect.closeTo(2.0542603, 5)])
})

test('differences > pairs cancel what they have in common; Welch widens with unequal variances', () => {
  const [a, b] = [
    [10, 20, 30],
    [9, 19.1, 28.9],
  ]
  expect(estimatePairedDifference(a!, b!).half).toBeCloseTo(4.30265 * (0.1 / Math.sqrt(3)), 5)
  // scipy.stats.ttest_ind(x, y, equal_var=False).confidence_interval(): -8.4673574 to 5.1073574
  const { value, half } = estimateDifference([27.5, 21, 19, 23.6, 17], [27.1, 22, 20.8])
  expect([value - half, value + half]).toEqual([expect.closeTo(-8.4673574, 4), expect.closeTo(5.1073574, 4)])
  expect(estimateDifference([1], [2, 3]).half).toBeNaN()
})

test('medians > the middle value; of an even number the mean of the middle two, or the larger one', () => {
  for (const values of [[10, -2, 9], Float32Array.of(10, -2, 9)])
    expect([median(values), upperMedian(values)]).toEqual([9, 9])
  expect([median([10, -2, 9, 4]), upperMedian([10, -2, 9, 4])]).toEqual([6.5, 9])
})
