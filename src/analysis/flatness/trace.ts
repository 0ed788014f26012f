import { dot } from '../../ir/float-array.js'
import { checkNumber, positiveCount } from '../../util/check.js'
import type { Random } from '../../util/random.js'
import type { SymmetricOperator } from './lanczos.js'

/** The mean of independent samples and its standard error. */
export interface MeanEstimate {
  readonly value: number
  /** Standard error: the sample standard deviation over sqrt(n); infinite for one sample. */
  readonly error: number
}

/** Mean and standard error of independent samples. */
export function computeMeanEstimate(samples: readonly number[]): MeanEstimate {
  const n = samples.length
  const value = samples.reduce((sum, x) => sum + x, 0) / n
  const squares = samples.reduce((sum, x) => sum + (x - value) ** 2, 0)
  return { value, error: n < 2 ? Number.POSITIVE_INFINITY : Math.sqrt(squares / (n - 1) / n) }
}

/** Stopping criteria of `hutchinsonTrace`. */
export interface TraceOptions {
  /** Stop when the standard error is at most this fraction of the trace. Default 0.02. */
  readonly tolerance?: number
  /** Maximal number of probes, each of which takes one product. Default 100. */
  readonly probes?: number
}

/** An estimate of a trace, with its standard error. */
export interface TraceEstimate extends MeanEstimate {
  readonly probes: number
  /** Whether the tolerance was reached. */
  readonly converged: boolean
}

/** With fewer probes the standard error itself is too uncertain for a stopping criterion. */
const minProbes = 10

/**
 * Hutchinson's estimator of a trace (Hutchinson 1990): tr A = E[v^T A v] for v with independent random signs. Its
 * variance 2 (||A||_F^2 - sum_i a_ii^2) is the smallest among probes with independent entries.
 * @throws OnnxIreError `invalid-option`
 */
export async function hutchinsonTrace(
  operator: SymmetricOperator,
  random: Random,
  { tolerance = 0.02, probes = 100 }: TraceOptions = {},
): Promise<TraceEstimate> {
  checkNumber('trace', 'probes', probes, positiveCount)
  checkNumber('trace', 'tolerance', tolerance, { min: 0, max: Number.MAX_VALUE })
  const samples: number[] = []
  const isAccurate = ({ value, error }: MeanEstimate) => error <= tolerance * Math.abs(value)
  while (samples.length < probes && (samples.length < minProbes || !isAccurate(computeMeanEstimate(samples)))) {
    const v = random.fill(new Float64Array(operator.size), 'sign')
    samples.push(dot(v, await operator.times(v)))
  }
  const estimate = computeMeanEstimate(samples)
  return { ...estimate, probes: samples.length, converged: isAccurate(estimate) }
}
