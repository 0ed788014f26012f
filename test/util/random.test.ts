import { describe, expect, test } from 'vitest'
import { Random } from '../../src/util/random.js'

const draws = (random: Random, n: number) => Array.from({ length: n }, () => random.uniform())
const mean = (x: ArrayLike<number>) => Array.from(x).reduce((a, b) => a + b, 0) / x.length
const variance = (x: ArrayLike<number>) => mean(Array.from(x, (v) => v * v)) - mean(x) ** 2

describe('Random', () => {
  test('the same seed gives the same numbers, another seed different ones', () => {
    expect(draws(new Random(1), 100)).toEqual(draws(new Random(1), 100))
    expect(draws(new Random(1), 100)).not.toEqual(draws(new Random(2), 100))
    expect(new Random(0).uniform()).not.toBe(new Random(2 ** 32).uniform())
  })

  test('the numbers are fixed: runs of older versions stay reproducible', () => {
    expect(draws(new Random(42), 2)).toEqual([0.3693196307993848, 0.47538407571135144])
    expect([...new Random(42).stream('shuffle').permutation(6)]).toEqual([1, 4, 5, 3, 0, 2])
  })

  test('a stream depends only on seed and name', () => {
    const [fresh, used] = [new Random(5), new Random(5)]
    draws(used, 17)
    draws(used.stream('other'), 3)
    expect(draws(used.stream('curvature'), 20)).toEqual(draws(fresh.stream('curvature'), 20))
    expect(draws(fresh.stream('a').stream('b'), 20)).not.toEqual(draws(fresh.stream('b').stream('a'), 20))
    expect(draws(fresh.stream(''), 5)).not.toEqual(draws(new Random(5), 5))
  })

  test('streams of similar names or seeds are uncorrelated', () => {
    const n = 4000
    const root = new Random(3)
    const streams = [...['a', 'b', 'aa', 'epoch 1', 'epoch 2'].map((name) => root.stream(name)), new Random(4), root]
    const series = streams.map((stream) => draws(stream, n))
    for (const [i, x] of series.entries())
      for (const y of series.slice(i + 1)) {
        const covariance = mean(x.map((xi, k) => (xi - 0.5) * (y[k]! - 0.5)))
        expect(Math.abs(covariance * 12)).toBeLessThan(4.5 / Math.sqrt(n))
      }
  })

  test('the first numbers of many seeds are uniform', () => {
    const first = Array.from({ length: 4000 }, (_, seed) => new Random(seed).uniform())
    expect(Math.abs(mean(first) - 0.5)).toBeLessThan(4.5 / Math.sqrt(12 * 4000))
  })

  test('continues from a saved state', () => {
    const random = new Random(9).stream('data')
    draws(random, 11)
    const resumed = new Random(JSON.parse(JSON.stringify(random.state())))
    expect(draws(resumed, 50)).toEqual(draws(random, 50))
    expect(draws(resumed.stream('x'), 5)).toEqual(draws(random.stream('x'), 5))
  })

  test('moments of the distributions', () => {
    const n = 100_000
    const random = new Random(11)
    const uniform = random.fill(new Float64Array(n), 'uniform')
    expect(Math.min(...uniform.subarray(0, 5000))).toBeGreaterThanOrEqual(0)
    expect(Math.max(...uniform.subarray(0, 5000))).toBeLessThan(1)
    expect(mean(uniform)).toBeCloseTo(0.5, 2)
    expect(variance(uniform)).toBeCloseTo(1 / 12, 2)
    const normal = random.fill(new Float64Array(n), 'normal')
    expect(Math.abs(mean(normal))).toBeLessThan(0.015)
    expect(Math.abs(variance(normal) - 1)).toBeLessThan(0.02)
    expect(Math.abs(mean(normal.map((x) => x ** 4)) - 3)).toBeLessThan(0.15)
  })

  test('a logit plus logistic noise is above 0 with its probability', () => {
    const noise = new Random(14).fill(new Float32Array(30_000), 'logistic')
    expect(noise.every(Number.isFinite)).toBe(true)
    for (const logit of [-3, -0.5, 0, 2]) {
      const share = mean(noise.map((x) => Number(logit + x > 0)))
      expect(Math.abs(share - 1 / (1 + Math.exp(-logit)))).toBeLessThan(0.015)
    }
  })

  test.each([0.1, 1, 5])("Huber's density of delta %d", (huber) => {
    const n = 50_000
    const drawn = new Random(15).fill(new Float64Array(n), { huber })
    const loss = (x: number) => (Math.abs(x) <= huber ? (x * x) / 2 : huber * (Math.abs(x) - huber / 2))
    const bounds = [-2, -1, -0.3, 0, 0.5, 1.5, 4].map((x) => x * Math.max(1, 1 / huber))
    const below = bounds.map(() => 0)
    let mass = 0
    for (let x = -300.005; x < 300; x += 0.01) {
      mass += Math.exp(-loss(x))
      for (const [i, bound] of bounds.entries()) if (x < bound) below[i]! += Math.exp(-loss(x))
    }
    for (const [i, bound] of bounds.entries())
      expect(Math.abs(mean(drawn.map((x) => Number(x < bound))) - below[i]! / mass)).toBeLessThan(0.012)
    expect(() => new Random(1).huber(0)).toThrow(/delta is 0/)
  })

  test('integers and permutations are uniform', () => {
    const random = new Random(17)
    const counts = new Map<string, number>()
    for (let i = 0; i < 24_000; i++) {
      const key = random.permutation(4).join('')
      counts.set(key, (counts.get(key) ?? 0) + 1)
    }
    expect(counts.size).toBe(24)
    const chiSquare = [...counts.values()].reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0)
    expect(chiSquare).toBeLessThan(56) // 23 degrees of freedom: 1 in 10,000
    const list = random.shuffle(['a', 'b', 'c'])
    expect([...list].sort()).toEqual(['a', 'b', 'c'])
    expect(random.integer(1)).toBe(0)
    expect(random.permutation(0)).toHaveLength(0)
  })

  test('rejects invalid arguments', () => {
    for (const seed of [-1, 0.5, Number.NaN, 2 ** 53]) expect(() => new Random(seed)).toThrow(/seed is/)
    for (const n of [0, -1, 1.5]) expect(() => new Random(1).integer(n)).toThrow(/n is /)
    expect(() => new Random({ key: [1, 2, 3], position: [1, 2, 3, 4] })).toThrow(/random state/)
  })
})

describe('gamma and beta', () => {
  const n = 40_000

  test.each([0.3, 1, 2.5, 20])('gamma of shape %f has mean and variance %f', (shape) => {
    const random = new Random(21)
    const x = Array.from({ length: n }, () => random.gamma(shape))
    expect(Math.abs(mean(x) - shape)).toBeLessThan(5 * Math.sqrt(shape / n))
    // The variance of the sample variance is (2 + 6 / shape) shape^2 / n.
    expect(Math.abs(variance(x) - shape)).toBeLessThan(5 * shape * Math.sqrt((2 + 6 / shape) / n))
  })

  test.each([
    [0.2, 0.2],
    [1, 1],
    [2, 5],
  ])('beta(%f, %f) has mean a / (a + b) and variance a b / ((a + b)^2 (a + b + 1))', (a, b) => {
    const random = new Random(22)
    const x = Array.from({ length: n }, () => random.beta(a, b))
    const expected = (a * b) / ((a + b) ** 2 * (a + b + 1))
    expect(Math.abs(mean(x) - a / (a + b))).toBeLessThan(5 * Math.sqrt(expected / n))
    expect(variance(x) / expected).toBeCloseTo(1, 1)
    expect(Math.min(...x)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...x)).toBeLessThanOrEqual(1)
  })

  test('tiny shapes give 0 or 1; invalid shapes are rejected', () => {
    const random = new Random(23)
    const x = Array.from({ length: 200 }, () => random.beta(1e-4, 1e-4))
    expect(x.every((share) => share < 1e-6 || share > 1 - 1e-6)).toBe(true)
    expect(x.filter((share) => share > 0.5).length).toBeGreaterThan(60)
    expect(() => random.gamma(0)).toThrow('it must be positive')
    expect(() => random.beta(1, Number.NaN)).toThrow('it must be positive')
  })
})
