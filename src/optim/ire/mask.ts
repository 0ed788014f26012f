import { type FloatArray, mapArrays, zerosLike } from '../../ir/float-array.js'
import type { OnnxIreError } from '../../util/errors.js'
import { arrayOf, type Gradients, type ParameterArrays } from '../arrays.js'
import { evaluate } from '../expr/evaluate.js'
import { faultOf } from '../gradient-norm.js'
import { flatByMagnitude, flatByValue, smoothedSquare, smoothedValue } from '../update-formulas.js'
import type { IreOptimizer } from './ire.js'
import { kthLargest } from './radix-select.js'

/** Which coordinates are flat, and what that was decided by. Replaced as a whole at each refresh. */
export interface FlatMask {
  /** n per parameter: 1 flat, 0 sharp or not IRE's to enhance. */
  readonly flat: Readonly<Record<string, Uint8Array>>
  /** F per parameter, kept in its precision, when `beta` > 0; null otherwise. */
  readonly curvature: Readonly<Record<string, FloatArray>> | null
  /** The step that made it. */
  readonly refreshedAt: number
  /** The largest F that counts as flat. */
  readonly threshold: number
  /** The share of all ranked coordinates that are flat: about gamma, more when many tie with the threshold. */
  readonly flatShare: number
  /** The share of all ranked coordinates whose F is exactly 0. If it exceeds gamma, squared F have the threshold 0. */
  readonly zeroShare: number
}

/**
 * The mask of one refresh: F = beta F + (1 - beta) h, one threshold over the N numbers of all ranked tensors, the k-th
 * largest F with k = floor((1 - gamma) N); flat where F <= threshold, ties included; k = 0 makes everything flat.
 *
 *     h = B g^2     for the curvatures 'sampled' and 'empirical', g being `estimates`
 *     h = v * Hv    for 'hutchinson', which `estimates` are themselves; F has a sign then, and is ranked with it
 *
 * Without smoothing B g^2 orders like abs(g), which is ranked instead: the same selection, exact where g^2 would overflow
 * or vanish.
 * @param parameters all of them; those that are not ranked keep n = 0
 * @param previous the mask so far
 * @throws 'not-finite' naming the step and the tensor, 'invalid-data' for missing or misshapen estimates
 */
export function refreshMask(
  { ire, step, batchSize, ranked, what }: MaskRequest,
  parameters: ParameterArrays,
  estimates: Gradients,
  previous: FlatMask | null,
): FlatMask {
  const signed = ire.curvature === 'hutchinson'
  const own = ranked.map((name) => [name, arrayOf(estimates, name, parameters[name]!.length, what)] as const)
  const take = takeOf({ ire, batchSize })
  const renewed = () => {
    const F = own.map(([name]) => previous?.curvature?.[name]?.slice() ?? zerosLike(parameters[name]!))
    evaluate(signed ? smoothedValue : smoothedSquare, { F, g: own.map(([, g]) => g) }, { beta: ire.beta, take })
    return Object.fromEntries(own.map(([name], i) => [name, F[i]!]))
  }
  const curvature =
    ire.beta > 0
      ? {
          ...mapArrays(parameters, (parameter, name) => previous?.curvature?.[name] ?? zerosLike(parameter)),
          ...renewed(),
        }
      : null
  const values = own.map(([name, g]) => [name, curvature?.[name] ?? g] as const)
  const total = values.reduce((sum, [, { length }]) => sum + length, 0)
  const arrays = values.map(([, array]) => array)
  const cut = total === 0 ? 0 : kthLargest(arrays, rankOf(ire, total), signed ? 'value' : 'magnitude')
  if (cut === null) throw notFinite(own, values, step, what)

  const flat = mapArrays(parameters, ({ length }) => new Uint8Array(length))
  const columns = { F: arrays, n: values.map(([name]) => flat[name]!) }
  const counts = evaluate(signed ? flatByValue : flatByMagnitude, columns, { cut })
  return {
    flat,
    curvature,
    ...maskNumbers({ ire, step, batchSize }, total, { cut, flat: counts['flat']!, zero: counts['zero']! }),
  }
}

/** What a mask was decided by. */
export type MaskNumbers = Pick<FlatMask, 'refreshedAt' | 'threshold' | 'flatShare' | 'zeroShare'>

/** N numbers of which some were counted, and the largest of them that is flat. */
interface Counted {
  readonly cut: number
  readonly flat: number
  readonly zero: number
}

/** The k of the threshold: the k-th largest is flat itself, so k = 0 and k = 1 both leave every coordinate flat. */
export const rankOf = ({ gamma }: IreOptimizer, total: number): number => Math.max(1, Math.floor((1 - gamma) * total))

/** The factor of what is new in F, (1 - beta) B or, of v * Hv, 1 - beta. */
export const takeOf = ({ ire, batchSize }: Pick<MaskRequest, 'ire' | 'batchSize'>): number =>
  (1 - ire.beta) * (ire.curvature === 'hutchinson' ? 1 : batchSize)

/** The numbers of the mask that a refresh made. */
export function maskNumbers(
  { ire, step, batchSize }: Pick<MaskRequest, 'ire' | 'step' | 'batchSize'>,
  total: number,
  { cut, flat, zero }: Counted,
): MaskNumbers {
  const share = (n: number) => (total === 0 ? 0 : n / total)
  const ranksF = ire.beta > 0 || ire.curvature === 'hutchinson'
  const threshold = ranksF ? cut : Math.min(batchSize * cut * cut, Number.MAX_VALUE)
  return { refreshedAt: step, threshold, flatShare: share(flat), zeroShare: share(zero) }
}

type Named = readonly (readonly [name: string, array: FloatArray])[]

/** What is wrong with the estimates, or else with the F made of them. */
export function notFinite(estimates: Named, F: Named, step: number, what: string): OnnxIreError {
  const fault = (named: Named, what: string) =>
    named.map(([name, array]) => faultOf(array, name, `step ${step}`, what)).find((error) => error !== null)
  return (fault(estimates, what) ?? fault(F, 'curvature estimate F'))!
}

/** A refresh of the flat mask; see `refreshMask`. */
export interface MaskRequest {
  readonly ire: IreOptimizer
  /** The step, from 0. */
  readonly step: number
  /** B, the number of samples that the estimates are the mean over. */
  readonly batchSize: number
  /** The tensors IRE may enhance, whose elements are the N of the threshold; the others keep n = 0. */
  readonly ranked: readonly string[]
  /** What the estimates are, for messages: 'curvature gradient'. */
  readonly what: string
}
