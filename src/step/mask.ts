import {
  elementCount,
  type FloatArray,
  type Gradients,
  mapArrays,
  type ParameterArrays,
  zerosLike,
} from '../optim/arrays.js'
import type { IreOptimizer } from './ire.js'
import { kthLargest } from './selection.js'

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
 * @param batchSize B, the number of samples the gradient is the mean over; it scales F and changes a mask only if it
 *   varies between refreshes and beta > 0
 * @param ranked the parameters IRE may enhance; the others keep n = 0
 * @throws 'not-finite' naming the tensor
 */
export function refreshMask(
  { gamma, beta, curvature: source }: IreOptimizer,
  parameters: ParameterArrays,
  estimates: Gradients,
  batchSize: number,
  previous: FlatMask | null,
  step: number,
  ranked: ParameterArrays = parameters,
): FlatMask {
  const signed = source === 'hutchinson'
  const isRanked = (name: string) => Object.hasOwn(ranked, name)
  const kept = (parameter: FloatArray, name: string): FloatArray => {
    const before = previous?.curvature?.[name] ?? zerosLike(parameter)
    return isRanked(name) ? smoothed(before, estimates[name]!, beta, signed ? 1 : batchSize, signed) : before
  }
  const curvature = beta > 0 ? mapArrays(parameters, kept) : null
  const values = mapArrays(ranked, (_, name) => (curvature ?? estimates)[name]!)
  const total = elementCount(ranked)
  // The k-th largest is flat itself, so k = 0 and k = 1 both leave every coordinate flat.
  const k = Math.max(1, Math.floor((1 - gamma) * total))
  const what = curvature ? 'curvature estimate F' : signed ? 'curvature estimate v * Hv' : 'curvature gradient'
  const cut = total === 0 ? 0 : kthLargest(values, k, what, signed ? 'value' : 'magnitude')

  const counts: Counts = { flat: 0, zero: 0 }
  const flat = mapArrays(parameters, ({ length }, name) => {
    const mask = new Uint8Array(length)
    if (!isRanked(name)) return mask
    const mark = signed ? markUpTo : markWithin
    mark(mask, values[name]!, cut, counts)
    return mask
  })
  const share = (n: number) => (total === 0 ? 0 : n / total)
  const threshold = curvature || signed ? cut : Math.min(batchSize * cut * cut, Number.MAX_VALUE)
  return { flat, curvature, refreshedAt: step, threshold, flatShare: share(counts.flat), zeroShare: share(counts.zero) }
}

/** beta F + (1 - beta) B g^2, or beta F + (1 - beta) g where `signed`. */
function smoothed(F: FloatArray, g: FloatArray, beta: number, batchSize: number, signed: boolean): FloatArray {
  const out = zerosLike(F)
  const take = (1 - beta) * batchSize
  if (signed) for (let i = 0; i < out.length; i++) out[i] = beta * F[i]! + take * g[i]!
  else for (let i = 0; i < out.length; i++) out[i] = beta * F[i]! + take * g[i]! * g[i]!
  return out
}

/** How many elements are flat, and how many exactly 0. */
interface Counts {
  flat: number
  zero: number
}

/** Marks what is at most `cut` in magnitude. */
function markWithin(mask: Uint8Array, values: FloatArray, cut: number, counts: Counts): void {
  let [flat, zero] = [0, 0]
  for (let i = 0; i < mask.length; i++) {
    const magnitude = Math.abs(values[i]!)
    const isFlat = magnitude <= cut ? 1 : 0
    mask[i] = isFlat
    flat += isFlat
    zero += magnitude === 0 ? 1 : 0
  }
  counts.flat += flat
  counts.zero += zero
}

/** Marks what is at most `cut`. */
function markUpTo(mask: Uint8Array, values: FloatArray, cut: number, counts: Counts): void {
  let [flat, zero] = [0, 0]
  for (let i = 0; i < mask.length; i++) {
    const value = values[i]!
    const isFlat = value <= cut ? 1 : 0
    mask[i] = isFlat
    flat += isFlat
    zero += value === 0 ? 1 : 0
  }
  counts.flat += flat
  counts.zero += zero
}
