import { checkNumber, positiveCount } from '../../util/check.js'
import type { Random } from '../../util/random.js'
import { eigenDecomposition, lanczos, type SymmetricOperator } from './lanczos.js'
import { computeMeanEstimate, type MeanEstimate } from './trace.js'

/** Options of `spectralDensity`. */
export interface DensityOptions {
  /** Number of random start vectors. Default 8. */
  readonly probes?: number
  /** Lanczos steps per start vector: the maximal number of nodes per quadrature, and of products. Default 40. */
  readonly steps?: number
  /** Standard deviation of the Gaussian around each node, as a fraction of the spectrum's width. Default 0.01. */
  readonly width?: number
  /** Number of grid points. Default 1024. */
  readonly points?: number
}

/** An estimate of the density of a Hessian's eigenvalues, with standard errors. */
export interface SpectralDensity {
  /** Eigenvalues, evenly spaced over the spectrum and five Gaussian widths beyond. */
  readonly grid: readonly number[]
  /** Fraction of eigenvalues per unit at each grid point, and its standard error over the probes. Integrates to 1. */
  readonly density: readonly number[]
  readonly errors: readonly number[]
  /** Nodes of all quadratures, and their weights, which sum to 1. */
  readonly nodes: readonly number[]
  readonly weights: readonly number[]
  /** Standard deviation of the Gaussians, in units of the eigenvalues. */
  readonly sigma: number
  /** tr A / size and tr A^2 / size by the quadratures. */
  readonly mean: MeanEstimate
  readonly meanSquare: MeanEstimate
  readonly probes: number
}

interface Quadrature {
  readonly nodes: readonly number[]
  readonly weights: readonly number[]
}

/**
 * The density of eigenvalues by stochastic Lanczos quadrature (Lin, Saad and Yang 2016; Ghorbani, Krishnan and Xiao
 * 2019, arXiv 1901.10159):
 *
 *     v^T f(A) v = sum_i w_i f(theta_i),  density(t) = mean over v of sum_i w_i N(t; theta_i, sigma^2).
 *
 * v has random signs over sqrt(size), theta_i are the eigenvalues of the Lanczos matrix T and w_i the squared first
 * components of its eigenvectors. The quadrature is exact for polynomials f up to degree 2 steps - 1.
 * @throws OnnxIreError `invalid-option`
 */
export async function spectralDensity(
  operator: SymmetricOperator,
  random: Random,
  { probes = 8, steps = 40, width = 0.01, points = 1024 }: DensityOptions = {},
): Promise<SpectralDensity> {
  for (const [name, value] of Object.entries({ probes, steps, points }))
    checkNumber('density', name, value, positiveCount)
  checkNumber('density', 'width', width, { min: 1e-6, max: 1 })
  const found: Quadrature[] = []
  for (let i = 0; i < probes; i++) {
    const v = random.fill(new Float64Array(operator.size), 'sign')
    const { values, first } = eigenDecomposition(await lanczos(operator, v, random, steps))
    found.push({ nodes: values, weights: first.map((x) => x * x) })
  }
  return { ...smooth(found, width, points), probes }
}

function smooth(found: readonly Quadrature[], width: number, points: number): Omit<SpectralDensity, 'probes'> {
  const nodes = found.flatMap((each) => each.nodes)
  const least = nodes.reduce((a, b) => Math.min(a, b))
  const most = nodes.reduce((a, b) => Math.max(a, b))
  // Eigenvalues that differ by rounding only get a peak that is narrow relative to their magnitude.
  const sigma = width * (Math.max(most - least, 1e-6 * Math.max(Math.abs(most), Math.abs(least))) || 1)
  const from = least - 5 * sigma
  const step = (most + 5 * sigma - from) / Math.max(1, points - 1)
  const grid = Array.from({ length: points }, (_, k) => from + k * step)
  const at = (t: number) =>
    computeMeanEstimate(found.map((each) => quadratureMean(each, (node) => gaussian((t - node) / sigma) / sigma)))
  const estimates = grid.map(at)
  return {
    grid,
    density: estimates.map(({ value }) => value),
    errors: estimates.map(({ error }) => error),
    nodes,
    weights: found.flatMap(({ weights }) => weights.map((weight) => weight / found.length)),
    sigma,
    mean: computeMeanEstimate(found.map((each) => quadratureMean(each, (node) => node))),
    meanSquare: computeMeanEstimate(found.map((each) => quadratureMean(each, (node) => node * node))),
  }
}

const gaussian = (z: number): number => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)

const quadratureMean = ({ nodes, weights }: Quadrature, f: (node: number) => number): number =>
  nodes.reduce((sum, node, i) => sum + weights[i]! * f(node), 0)
