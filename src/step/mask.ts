import { elementCount, type FloatArray, type Gradients, mapArrays, type ParameterArrays } from '../optim/arrays.js'
import type { IreOptimizer } from './ire.js'
import { kthLargestMagnitude } from './selection.js'

/** Which coordinates are flat, and what that was decided by. Replaced as a whole at each refresh. */
export interface FlatMask {
  /** n per parameter: 1 flat, 0 sharp. */
  readonly flat: Readonly<Record<string, Uint8Array>>
  /** F per parameter, kept in its precision, when `beta` > 0; null otherwise. */
  readonly curvature: Readonly<Record<string, FloatArray>> | null
  /** The step that made it. */
  readonly refreshedAt: number
  /** The largest F that counts as flat. */
  readonly threshold: number
  /** The share of all coordinates that are flat: about gamma, more when many tie with the threshold. */
  readonly flatShare: number
  /** The share of all coordinates whose F is exactly 0. Above gamma the threshold is 0 and all of these are flat. */
  readonly zeroShare: number
}

/**
 * The mask of one refresh: F = beta F + (1 - beta) B g^2, one threshold over all N numbers of all tensors, the k-th
 * largest F with k = floor((1 - gamma) N); flat where F <= threshold, ties included; k = 0 makes everything flat.
 *
 * Without smoothing F orders like abs(g), which is ranked instead: the same selection, exact where g^2 would overflow or
 * vanish.
 * @param batchSize B, the number of samples the gradient is the mean over; it scales F and changes a mask only if it
 *   varies between refreshes and beta > 0
 * @throws 'not-finite' naming the tensor
 */
export function refreshMask(
  { gamma, beta }: IreOptimizer,
  parameters: ParameterArrays,
  gradients: Gradients,
  batchSize: number,
  previous: FlatMask | null,
  step: number,
): FlatMask {
  const smooth = (g: FloatArray, name: string) =>
    smoothed(g, previous?.curvature?.[name], beta, batchSize, parameters[name]!)
  const own = mapArrays(parameters, (_, name) => gradients[name]!)
  const curvature = beta > 0 ? mapArrays(own, smooth) : null
  const ranked = curvature ?? own
  const total = elementCount(parameters)
  // The k-th largest is flat itself, so k = 0 and k = 1 both leave every coordinate flat.
  const k = Math.max(1, Math.floor((1 - gamma) * total))
  const cut =
    total === 0 ? 0 : kthLargestMagnitude(ranked, k, curvature ? 'curvature estimate F' : 'curvature gradient')

  let [flatCount, zeroCount] = [0, 0]
  const flat = mapArrays(ranked, (values) => {
    const mask = new Uint8Array(values.length)
    flatCount += markFlat(mask, values, cut)
    zeroCount += countZeros(values)
    return mask
  })
  const share = (n: number) => (total === 0 ? 0 : n / total)
  const threshold = curvature ? cut : Math.min(batchSize * cut * cut, Number.MAX_VALUE)
  return {
    flat,
    curvature,
    refreshedAt: step,
    threshold,
    flatShare: share(flatCount),
    zeroShare: share(zeroCount),
  }
}

function smoothed(
  g: FloatArray,
  previous: FloatArray | undefined,
  beta: number,
  batchSize: number,
  parameter: FloatArray,
): FloatArray {
  const out = parameter instanceof Float64Array ? new Float64Array(g.length) : new Float32Array(g.length)
  const take = (1 - beta) * batchSize
  for (let i = 0; i < out.length; i++) out[i] = beta * (previous?.[i] ?? 0) + take * g[i]! * g[i]!
  return out
}

function markFlat(mask: Uint8Array, values: FloatArray, cut: number): number {
  let n = 0
  for (let i = 0; i < mask.length; i++) {
    const isFlat = Math.abs(values[i]!) <= cut ? 1 : 0
    mask[i] = isFlat
    n += isFlat
  }
  return n
}

function countZeros(values: FloatArray): number {
  let n = 0
  for (let i = 0; i < values.length; i++) n += values[i] === 0 ? 1 : 0
  return n
}
