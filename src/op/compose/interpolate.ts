import { dtypes } from '../../ir/dtype.js'
import { int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { op } from '../op.js'
import { cubicWeights } from './resize.js'
import { indicator, lengthAlong, scalarLength } from './shape.js'

/**
 * The pixels x[image, :, index_1, index_2, ...] of x [N, C, ...]: `image` and the indices broadcast against each other
 * to the shape of the result, followed by the channels. Whole pixels are gathered from rows of channels, which
 * onnxruntime copies several times faster than elements.
 */
export function pixelsAt(x: Value, image: Value, indices: readonly Value[]): Value {
  const spatial = indices.map((_, axis) => axis + 2)
  const rows = op.Reshape(
    op.Transpose(x, { perm: [0, ...spatial, 1] }),
    op.Concat([int64s([-1]), lengthAlong(x, 1)], { axis: 0 }),
  )
  const row = indices.reduce((row, index, axis) => op.Add(op.Mul(row, scalarLength(x, axis + 2)), index), image)
  return op.Gather(rows, row)
}

/** The elements along one axis that samples are interpolated from: [...samples, taps]. */
export interface Taps {
  /** int64, on the axis. */
  readonly index: Value
  readonly weight: Value
}

/** Rule for elements beyond the ends of an axis of `length` elements (an int64 scalar). */
export type Edge = (index: Value, length: Value) => { readonly index: Value; readonly inside?: Value }

const onAxis = (index: Value, length: Value): Value => op.Clip(index, 0, op.Sub(length, 1))

export const nothingOutside: Edge = (index, length) => ({
  index: onAxis(index, length),
  inside: op.And(op.GreaterOrEqual(index, 0), op.Less(index, length)),
})

export const lastElementOutside: Edge = (index, length) => ({ index: onAxis(index, length) })

/** Mirrors at the centers of the first and the last element. */
export const mirroredAtCentres: Edge = (index, length) => {
  const last = op.Sub(length, 1)
  const period = op.Max([op.Mul(last, 2), op.Sub(2, length)])
  const folded = op.Mod(op.Abs(index), period)
  return { index: op.Min([folded, op.Sub(period, folded)]) }
}

/** Mirrors at the outer borders of the first and the last element. */
export const mirroredAtBorders: Edge = (index, length) => {
  const period = op.Mul(length, 2)
  const folded = op.Mod(index, period)
  return { index: op.Min([folded, op.Sub(op.Sub(period, 1), folded)]) }
}

/** The taps of samples at fractional positions `at` along an axis, in elements. */
export function tapsAt(at: Value, length: Value, mode: 'nearest' | 'linear' | 'cubic', edge: Edge): Taps {
  const below = mode === 'nearest' ? op.Round(at) : op.Floor(at)
  const t = op.Sub(at, below)
  const neighbors = mode === 'nearest' ? [0] : mode === 'linear' ? [0, 1] : [-1, 0, 1, 2]
  const places = op.Add(op.Unsqueeze(op.Cast(below, { to: dtypes.int64.onnx }), [-1]), int64s(neighbors))
  const { index, inside } = edge(places, length)
  if (mode === 'nearest')
    return { index, weight: inside ? indicator(inside, at) : op.Expand(scalar(at.dtype, 1), op.Shape(index)) }
  const weights = mode === 'linear' ? [op.Sub(1, t), t] : cubicWeights(t, -0.75)
  const weight = op.Concat(
    weights.map((weight) => op.Unsqueeze(weight, [-1])),
    { axis: -1 },
  )
  return { index, weight: inside ? op.Mul(weight, indicator(inside, weight)) : weight }
}

/** Images of the samples (int64, of the samples' rank) and the interpolation taps along every spatial axis. */
interface Samples {
  readonly image: Value
  readonly taps: readonly Taps[]
  /** Number of axes of the samples. */
  readonly rank: number
}

/** Every pixel of every sample times its weights along all axes: [...samples, ...taps of the axes, C]. */
export function weighPixels(x: Value, { image, taps, rank }: Samples): Value {
  const tapAxes = taps.map((_, axis) => rank + axis)
  const apart = taps.map(({ index, weight }, axis) => {
    const others = tapAxes.filter((other) => other !== rank + axis)
    return { index: op.Unsqueeze(index, others), weight: op.Unsqueeze(weight, [...others, rank + taps.length]) }
  })
  const pixels = pixelsAt(
    x,
    op.Unsqueeze(image, tapAxes),
    apart.map(({ index }) => index),
  )
  return op.Mul(
    pixels,
    apart.map(({ weight }) => weight).reduce((a, b) => op.Mul(a, b)),
  )
}

/** x [N, C, ...] at the samples: [...samples, C]. */
export const sampleAt = (x: Value, samples: Samples): Value =>
  op.ReduceSum(
    weighPixels(x, samples),
    samples.taps.map((_, axis) => samples.rank + axis),
    { keepdims: 0 },
  )
