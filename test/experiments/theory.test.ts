import { describe, expect, test } from 'vitest'
import { Random } from '../../src/util/random.js'
import { averageFit, averageRate } from '../../tools/experiments/theory/average-sam.js'
import { largestEigenvalue } from '../../tools/experiments/theory/diagonal-net.js'
import { cell, fitted, type Mode, settings } from '../../tools/experiments/theory/full-batch-sam.js'
import { wideFit } from '../../tools/experiments/theory/window.js'

const all = settings()

/** The corners of the experiment's grid, seed 0. */
const fitOf = (problem: string, mode: Mode) => {
  const setting = all.find((each) => each.problem.name === problem)!
  const cells = [0.01, 0.04].flatMap((eta) =>
    [0.01, 0.04].map((rho) => ({ eta, rho, ...cell(setting, mode, eta, rho, 0) })),
  )
  return fitted(cells)
}

describe.each(['2-D', '25-D', 'diagonal linear net'])('%s > drift towards flat minima', (problem) => {
  test('SAM: eta rho^2', () => {
    const fit = fitOf(problem, 'SAM')
    expect(fit.etaAlone).toBeCloseTo(1, 2)
    expect(Math.abs(fit.rho - 2)).toBeLessThan(0.02)
  })

  test('SAM-IRE, kappa = 1 / rho: eta rho', () => {
    const fit = fitOf(problem, 'SAM-IRE, kappa 1 / rho')
    expect(fit.etaAlone).toBeCloseTo(1, 2)
    expect(Math.abs(fit.rho - 1)).toBeLessThan(0.04)
  })
})

test('large steps lower the exponent of eta, a long window that of rho', () => {
  const brief = wideFit(true, 'until 1 % of the sharpness is gone', 1)
  const long = wideFit(true, 'over 200 steps', 1)
  expect(brief.eta).toBeGreaterThan(1.35)
  expect(brief.etaAlone).toBeCloseTo(1, 1)
  expect(brief.rho).toBeCloseTo(1, 1)
  expect(long.eta).toBeLessThan(1.15)
  expect(long.rho).toBeLessThan(0.9)
})

test('constant kappa > exponent rho^2, and the rate times 1 + kappa', () => {
  const [plain, enhanced] = (['SAM', 'SAM-IRE, kappa 5'] as const).map(
    (mode) => cell(all[0]!, mode, 0.02, 0.01, 0).rate!,
  )
  expect(enhanced! / plain!).toBeCloseTo(6, 1)
})

test('learning rate times 1 + kappa > diverges in the sharp coordinates', () => {
  expect(cell(all[0]!, 'SAM, lr (1 + kappa)', 0.04, 0.01, 0).rate).toBeNull()
})

test.each([
  ['average SAM', 2],
  ['average SAM-IRE', 1.5],
] as const)('%s > eta^%f / p', (mode, exponent) => {
  const cells = [0.001, 0.01].flatMap((eta) =>
    [8, 32].map((p) => ({ eta, p, rate: averageRate(mode, eta, p, 0, 1500)! })),
  )
  const fit = averageFit(cells)
  expect(Math.abs(fit.eta - exponent)).toBeLessThan(0.08)
  expect(Math.abs(fit.p + 1)).toBeLessThan(0.1)
})

/** d theta around `at`: the gradient's differences against v * Hv averaged over all sign vectors is the diagonal. */
test.each(all.map((setting) => [setting.problem.name, setting.problem] as const))(
  '%s > v * Hv > equals the derivative of the gradient',
  (_, problem) => {
    const at = problem.start(new Random(3))
    for (const x of Object.values(at)) for (let i = 0; i < x.length; i++) x[i]! += 0.05 * Math.cos(i)
    const random = new Random(4)
    const estimate = problem.curvature(at, random)
    // The same signs, in the order in which curvature samples them.
    const again = new Random(4)
    const names = Object.keys(at)
    const signs = again.fill(new Float64Array(names.reduce((sum, name) => sum + at[name]!.length, 0)), 'sign')
    const moved = (h: number) => {
      let k = 0
      return Object.fromEntries(names.map((name) => [name, at[name]!.map((x) => x + h * signs[k++]!)]))
    }
    const [up, down] = [problem.gradient(moved(1e-5)), problem.gradient(moved(-1e-5))]
    let k = 0
    for (const name of names)
      for (let i = 0; i < at[name]!.length; i++)
        expect(estimate[name]![i]).toBeCloseTo((signs[k++]! * (up[name]![i]! - down[name]![i]!)) / 2e-5, 6)
  },
)

test('largest eigenvalue > matrix with known eigenvalues > is equal', () => {
  // Eigenvalues 3 and 1, and 2.9 apart
  expect(
    largestEigenvalue([
      [2, 1, 0],
      [1, 2, 0],
      [0, 0, 2.9],
    ]),
  ).toBeCloseTo(3, 3)
})
