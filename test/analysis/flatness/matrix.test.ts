import { expect, test } from 'vitest'
import { spectralDensity } from '../../../src/analysis/flatness/density.js'
import { topEigenvalues } from '../../../src/analysis/flatness/eigenvalues.js'
import { eigenDecomposition } from '../../../src/analysis/flatness/lanczos.js'
import { hutchinsonTrace } from '../../../src/analysis/flatness/trace.js'
import { Random } from '../../../src/util/random.js'
import { jacobi, matrixOf, operatorOf, squaresOf, traceOf } from './matrix.js'

/** A bulk near 0 and a few outliers, as trained networks have. */
const values = [...Array.from({ length: 57 }, (_, i) => -0.2 + 0.01 * i), 3, 5.5, 9]
const matrix = matrixOf(values)
const random = (seed: number) => new Random(seed).stream('test')

test('symmetric matrix from eigenvalues > has these eigenvalues', () => {
  for (const [i, value] of jacobi(matrix).entries()) expect(value).toBeCloseTo(values[i]!, 10)
})

test('implicit QL > returns the eigenvalues of a tridiagonal matrix and both rows of its eigenvectors', () => {
  const n = 12
  const { values, first, last } = eigenDecomposition({
    diagonal: Array.from({ length: n }, () => 2),
    offDiagonal: Array.from({ length: n - 1 }, () => -1),
  })
  for (let k = 1; k <= n; k++) {
    const angle = (k * Math.PI) / (n + 1)
    expect(values[k - 1]).toBeCloseTo(2 - 2 * Math.cos(angle), 12)
    const component = Math.sqrt(2 / (n + 1)) * Math.sin(angle)
    expect(Math.abs(first[k - 1]!)).toBeCloseTo(component, 12)
    expect(Math.abs(last[k - 1]!)).toBeCloseTo(component, 12)
  }
  expect(eigenDecomposition({ diagonal: [4, -1, 3], offDiagonal: [0, 0] })).toEqual({
    values: [-1, 3, 4],
    first: [0, 0, 1],
    last: [0, 1, 0],
  })
  expect(eigenDecomposition({ diagonal: [7], offDiagonal: [] }).values).toEqual([7])
})

test('Hutchinson > the error bar estimates the error of the trace', async () => {
  const trace = traceOf(matrix)
  const deviations: number[] = []
  for (let seed = 0; seed < 200; seed++) {
    const { value, error, probes } = await hutchinsonTrace(operatorOf(matrix), random(seed), {
      tolerance: 0,
      probes: 50,
    })
    expect(probes).toBe(50)
    deviations.push((value - trace) / error)
  }
  const within = (bars: number) => deviations.filter((z) => Math.abs(z) < bars).length / deviations.length
  expect(within(1)).toBeGreaterThan(0.58)
  expect(within(1)).toBeLessThan(0.78)
  expect(within(2)).toBeGreaterThan(0.9)
  // The variance of one probe is 2 (||A||_F^2 - sum a_ii^2).
  const { error } = await hutchinsonTrace(operatorOf(matrix), random(1), { tolerance: 0, probes: 4000 })
  const diagonal = matrix.reduce((sum, row, i) => sum + row[i]! ** 2, 0)
  expect(error / Math.sqrt((2 * (squaresOf(matrix) - diagonal)) / 4000)).toBeCloseTo(1, 1)
})

test('Hutchinson > stops at its tolerance or at its sample limit', async () => {
  const loose = await hutchinsonTrace(operatorOf(matrix), random(2), { tolerance: 0.05, probes: 1000 })
  expect(loose.converged).toBe(true)
  expect(loose.error).toBeLessThanOrEqual(0.05 * loose.value)
  expect(loose.probes).toBeLessThan(1000)
  const tight = await hutchinsonTrace(operatorOf(matrix), random(2), { tolerance: 1e-6, probes: 12 })
  expect(tight).toMatchObject({ converged: false, probes: 12 })
  const diagonal = await hutchinsonTrace(
    operatorOf([
      [3, 0],
      [0, -1],
    ]),
    random(2),
  )
  expect(diagonal).toEqual({ value: 2, error: 0, probes: 10, converged: true })
})

test('Lanczos > largest eigenvalues > are within their bounds', async () => {
  const operator = operatorOf(matrix)
  const { largest, smallest, steps, converged } = await topEigenvalues(operator, random(3), {
    count: 3,
    tolerance: 1e-7,
  })
  expect(converged).toBe(true)
  expect(steps).toBe(operator.products)
  expect(steps).toBeLessThan(40)
  for (const [i, { value, bound }] of largest.entries()) {
    expect(value).toBeCloseTo([9, 5.5, 3][i]!, 6)
    expect(bound).toBeLessThanOrEqual(9e-7)
  }
  const away = Math.min(...values.map((value) => Math.abs(value - smallest.value)))
  expect(away).toBeLessThanOrEqual(smallest.bound + 1e-12)
})

test('Lanczos > few steps > the bounds hold before convergence', async () => {
  for (const steps of [4, 6, 9, 14]) {
    const found = await topEigenvalues(operatorOf(matrix), random(4), { count: 4, steps })
    expect(found.converged).toBe(false)
    for (const { value, bound } of [...found.largest, found.smallest])
      expect(Math.min(...values.map((each) => Math.abs(each - value)))).toBeLessThanOrEqual(bound + 1e-12)
  }
})

test('Lanczos > invariant subspace > continues with a new vector', async () => {
  const identity = Array.from({ length: 6 }, (_, i) => Array.from({ length: 6 }, (_, j) => (i === j ? 2 : 0)))
  const { largest } = await topEigenvalues(operatorOf(identity), random(5), { count: 3 })
  expect(largest).toHaveLength(3)
  for (const { value, bound } of largest) {
    expect(value).toBeCloseTo(2, 12)
    expect(bound).toBe(0)
  }
  const all = await topEigenvalues(operatorOf(matrixOf([1, 1, 1, 4, 4, -2])), random(5), { count: 9, tolerance: 0 })
  for (const [i, { value }] of all.largest.entries()) expect(value).toBeCloseTo([4, 4, 1, 1, 1, -2][i]!, 10)
  expect(all.steps).toBe(6)
})

test('matrix of zeros > trace and eigenvalues > are 0', async () => {
  const zeros = operatorOf(Array.from({ length: 4 }, () => [0, 0, 0, 0]))
  expect((await topEigenvalues(zeros, random(6), { count: 2 })).largest).toEqual([
    { value: 0, bound: 0 },
    { value: 0, bound: 0 },
  ])
  const { density, grid } = await spectralDensity(zeros, random(6), { probes: 2 })
  expect(integral(grid, density)).toBeCloseTo(1, 5)
})

test('density > integral and moments > are 1 and those of the spectrum', async () => {
  const found = await spectralDensity(operatorOf(matrix), random(7), { probes: 40, steps: 20 })
  const { grid, density, errors, nodes, weights, sigma, mean, meanSquare } = found
  expect(integral(grid, density)).toBeCloseTo(1, 6)
  expect(weights.reduce((a, b) => a + b)).toBeCloseTo(1, 10)
  const first = integral(
    grid,
    density.map((d, i) => d * grid[i]!),
  )
  expect(first).toBeCloseTo(mean.value, 6)
  expect(nodes.reduce((sum, node, i) => sum + weights[i]! * node, 0)).toBeCloseTo(mean.value, 10)
  const n = values.length
  expect(Math.abs(mean.value - traceOf(matrix) / n)).toBeLessThan(3 * mean.error)
  expect(Math.abs(meanSquare.value - squaresOf(matrix) / n)).toBeLessThan(3 * meanSquare.error)
  expect(
    integral(
      grid,
      density.map((d, i) => d * grid[i]! ** 2),
    ),
  ).toBeCloseTo(meanSquare.value + sigma ** 2, 6)
  expect(errors.every((error) => error >= 0 && Number.isFinite(error))).toBe(true)
})

test('density > equals the smoothed eigenvalues', async () => {
  const found = await spectralDensity(operatorOf(matrix), random(8), { probes: 60, steps: 60, width: 0.03 })
  const { grid, density, errors, sigma } = found
  const exact = grid.map(
    (t) =>
      values.reduce((sum, value) => sum + Math.exp(-(((t - value) / sigma) ** 2) / 2), 0) /
      (values.length * sigma * Math.sqrt(2 * Math.PI)),
  )
  const far = grid.filter((_, i) => Math.abs(density[i]! - exact[i]!) > 3.5 * errors[i]! + 1e-6 * Math.max(...exact))
  expect(far.length / grid.length).toBeLessThan(0.01)
})

test('options out of range > rejects', async () => {
  const operator = operatorOf([[1]])
  for (const wrong of [
    hutchinsonTrace(operator, random(9), { probes: 0 }),
    hutchinsonTrace(operator, random(9), { tolerance: -1 }),
    topEigenvalues(operator, random(9), { count: 1.5 }),
    spectralDensity(operator, random(9), { width: 0 }),
  ])
    await expect(wrong).rejects.toMatchObject({ code: 'invalid-option' })
})

function integral(grid: readonly number[], f: readonly number[]): number {
  const step = grid[1]! - grid[0]!
  return step * (f.reduce((a, b) => a + b) - (f[0]! + f.at(-1)!) / 2)
}
