import { checkNumber, positiveCount } from '../../util/check.js'
import type { Random } from '../../util/random.js'
import { type Estimate, estimateOf } from './estimate.js'
import type { SymmetricOperator } from './symmetric.js'
import { dot } from './vector.js'

/** When the estimate is good enough. */
export interface TraceOptions {
  /** Stops once the standard error is at most this share of the trace. Default 0.02. */
  readonly tolerance?: number
  /** Probes at most; each is one product. Default 100. */
  readonly probes?: number
}

/** The trace with its standard error. */
export interface Trace extends Estimate {
  readonly probes: number
  /** Whether the tolerance was reached. */
  readonly converged: boolean
}

/** With fewer the standard error is itself too uncertain to stop by. */
const fewestProbes = 10

/**
 * Hutchinson's estimate (1990) of tr A: E[v^T A v] for independent random signs v, which has the least variance among
 * probes of independent entries, 2 (||A||_F^2 - sum_i a_ii^2).
 * @throws 'invalid-option'
 */
export async function hutchinsonTrace(
  operator: SymmetricOperator,
  random: Random,
  { tolerance = 0.02, probes = 100 }: TraceOptions = {},
): Promise<Trace> {
  checkNumber('trace', 'probes', probes, positiveCount)
  checkNumber('trace', 'tolerance', tolerance, { min: 0, max: Number.MAX_VALUE })
  const draws: number[] = []
  const met = ({ value, error }: Estimate) => error <= tolerance * Math.abs(value)
  while (draws.length < probes && (draws.length < fewestProbes || !met(estimateOf(draws)))) {
    const v = random.fill(new Float64Array(operator.size), 'sign')
    draws.push(dot(v, await operator.times(v)))
  }
  const estimate = estimateOf(draws)
  return { ...estimate, probes: draws.length, converged: met(estimate) }
}
