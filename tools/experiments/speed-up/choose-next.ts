import { invert, moments } from '../statistics.js'

/**
 * Chooses the measurement that lowers the summed variance of the coefficients most per cost: A-optimal design. Before
 * anything is known, coefficients have a standard deviation of ten times that of a measurement.
 * @param measured rows x of what is measured
 * @returns index of a candidate
 */
export function chooseNext(
  measured: readonly (readonly number[])[],
  candidates: readonly { readonly x: readonly number[]; readonly cost: number }[],
): number {
  const variance = (rows: readonly (readonly number[])[]) =>
    invert(moments(rows, 0.01)).reduce((sum, row, j) => sum + row[j]!, 0)
  const prior = candidates[0]!.x.map(() => 0)
  const before = variance([prior, ...measured])
  const gains = candidates.map(({ x, cost }) => (before - variance([prior, ...measured, x])) / cost)
  return gains.indexOf(Math.max(...gains))
}
