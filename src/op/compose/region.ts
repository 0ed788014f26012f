import { dtypes } from '../../ir/dtype.js'
import { int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import type { region } from '../definitions/sampling.js'
import { op } from '../op.js'
import type { Expansions } from './expansion.js'
import { lastElementOutside, pixelsAt, sampleAt, type Taps, tapsAt, weighPixels } from './interpolate.js'
import { indicator, rangeAlongAxis, scalarLength } from './shape.js'

const toInt = (x: Value): Value => op.Cast(x, { to: dtypes.int64.onnx })
/** One column of the regions, [count]. */
const column = (rois: Value, index: number): Value => op.Gather(rois, scalar('int64', index), { axis: 1 })
/** [count, ...] with trailing axes of length 1. */
const appendAxes = (x: Value, count: number): Value =>
  op.Unsqueeze(
    x,
    Array.from({ length: count }, (_, i) => i + 1),
  )
/** The numbers 0 ... length - 1 along axis 1. */
const counting = (length: number, like: Value, rank: number): Value =>
  op.CastLike(rangeAlongAxis(scalar('int64', length), 1, rank), like)

/** [count, bins, ..., C] of one axis of bins each -> [count, C, bins, bins] */
const channelsSecond = (y: Value): Value => op.Transpose(y, { perm: [0, 3, 1, 2] })

/** The maximum of `x` (int64) and `least`: there may be no regions. */
const largestOf = (x: Value, least: number): Value =>
  op.ReduceMax(op.Concat([op.Reshape(x, [-1]), int64s([least])], { axis: 0 }), null, { keepdims: 0 })

interface AlignedAxis {
  readonly bins: number
  readonly halfPixel: boolean
  readonly mean: boolean
  readonly scale: number
  /** Samples in each bin; 0: ceil(length of the bin). */
  readonly samples: number
}

/**
 * Returns the interpolation taps of the bins of all regions along one axis: [count, bins, samples * 2]. Sample g of n
 * is at (g + 1/2) / n of its bin, interpolated between two elements. The border elements extend by one element; farther
 * samples are 0. Bins with fewer samples repeat the last one, with no effect on the maximum and weight 0 in the mean.
 */
function binTaps(from: Value, to: Value, length: Value, { bins, halfPixel, mean, scale, samples }: AlignedAxis): Taps {
  const start = halfPixel ? op.Sub(op.Mul(from, scale), 0.5) : op.Mul(from, scale)
  const end = halfPixel ? op.Sub(op.Mul(to, scale), 0.5) : op.Mul(to, scale)
  const extent = halfPixel ? op.Sub(end, start) : op.Max([op.Sub(end, start), 1])
  const bin = op.Div(extent, bins)
  const n = samples > 0 ? op.CastLike(scalar('int64', samples), bin) : op.Max([op.Ceil(bin), 1])
  const most = samples > 0 ? scalar('int64', samples) : largestOf(toInt(n), 1)
  const perRegion = samples > 0 ? n : appendAxes(n, 2)
  const g = op.CastLike(rangeAlongAxis(most, 2, 3), bin)
  const within = op.Div(op.Add(op.Min([g, op.Sub(perRegion, 1)]), 0.5), perRegion)
  const at = op.Add(appendAxes(start, 2), op.Mul(op.Add(counting(bins, bin, 3), within), appendAxes(bin, 2)))
  const last = op.CastLike(op.Sub(length, 1), at)
  const inside = op.And(op.GreaterOrEqual(at, -1), op.LessOrEqual(at, op.Add(last, 1)))
  const { index, weight } = tapsAt(op.Max([op.Min([at, last]), 0]), length, 'linear', lastElementOutside)
  const counted = mean ? op.Div(indicator(op.And(inside, op.Less(g, perRegion)), at), perRegion) : indicator(inside, at)
  const flat = op.Concat([op.Shape(index, { end: 2 }), op.Mul(op.Shape(index, { start: 2, end: 3 }), 2)], { axis: 0 })
  const together = (taps: Value) => op.Reshape(taps, flat, { allowzero: 1 })
  return { index: together(index), weight: together(op.Mul(weight, op.Unsqueeze(counted, [-1]))) }
}

/**
 * The first and the last element of every bin of MaxRoiPool along one axis, int64 [count, bins]; none where last <
 * first.
 */
function binEnds(from: Value, to: Value, length: Value, bins: number, scale: number): [first: Value, last: Value] {
  const whole = (x: Value) => op.Floor(op.Add(op.Mul(x, scale), 0.5))
  const start = whole(from)
  const bin = appendAxes(op.Div(op.Max([op.Add(op.Sub(whole(to), start), 1), 1]), bins), 1)
  const p = counting(bins, bin, 2)
  const onAxis = (x: Value) => op.Clip(toInt(op.Add(x, appendAxes(start, 1))), 0, length)
  return [onAxis(op.Floor(op.Mul(p, bin))), op.Sub(onAxis(op.Ceil(op.Mul(op.Add(p, 1), bin))), 1)]
}

/** Every element of every bin, int64 [count, bins, most]: smaller bins repeat their last one. */
function elementsOf(first: Value, last: Value): Value {
  const most = op.Add(largestOf(op.Sub(last, first), 0), 1)
  const each = op.Add(op.Unsqueeze(first, [2]), rangeAlongAxis(most, 2, 3))
  return op.Max([op.Min([each, op.Unsqueeze(last, [2])]), 0])
}

export const regionExpansions = {
  RoiAlign: ([x, rois, batch], attributes) => {
    const { mode, output_height, output_width, sampling_ratio: samples, spatial_scale: scale } = attributes
    const how = {
      halfPixel: attributes.coordinate_transformation_mode === 'half_pixel',
      mean: mode === 'avg',
      samples,
      scale,
    }
    const rows = binTaps(column(rois, 1), column(rois, 3), scalarLength(x, 2), { ...how, bins: output_height })
    const columns = binTaps(column(rois, 0), column(rois, 2), scalarLength(x, 3), { ...how, bins: output_width })
    const apart = ({ index, weight }: Taps, axis: number): Taps => ({
      index: op.Unsqueeze(index, [axis]),
      weight: op.Unsqueeze(weight, [axis]),
    })
    const samplesOf = { image: appendAxes(batch, 2), taps: [apart(rows, 2), apart(columns, 1)], rank: 3 }
    // The maximum is that of the weighed elements, not of the samples: so onnxruntime and the reference have it.
    const pooled =
      mode === 'avg' ? sampleAt(x, samplesOf) : op.ReduceMax(weighPixels(x, samplesOf), [3, 4], { keepdims: 0 })
    return channelsSecond(pooled)
  },
  MaxRoiPool: ([x, rois], { pooled_shape, spatial_scale: scale }) => {
    const [h, w] = pooled_shape as readonly [number, number]
    const [top, bottom] = binEnds(column(rois, 2), column(rois, 4), scalarLength(x, 2), h, scale)
    const [left, right] = binEnds(column(rois, 1), column(rois, 3), scalarLength(x, 3), w, scale)
    // [count, h, w, elements along h, elements along w]
    const rows = op.Unsqueeze(elementsOf(top, bottom), [2, 4])
    const columns = op.Unsqueeze(elementsOf(left, right), [1, 3])
    const largest = op.ReduceMax(pixelsAt(x, appendAxes(toInt(column(rois, 0)), 4), [rows, columns]), [3, 4], {
      keepdims: 0,
    })
    const empty = op.Or(op.Unsqueeze(op.Less(bottom, top), [2, 3]), op.Unsqueeze(op.Less(right, left), [1, 3]))
    return channelsSecond(op.Where(empty, 0, largest))
  },
} satisfies Expansions<typeof region>
