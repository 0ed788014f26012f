import { dtypes } from '../../../ir/dtype.js'
import { scalar } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import type { ResizeAttributes } from '../../../op/resize.js'

/** One element of the input that every element of the output is made of. float32 [output length] each; the index lies on the axis. */
export interface Tap {
  readonly index: Value
  /** Absent: 1. */
  readonly weight?: Value
}
type WeightedTap = Required<Tap>

const float = (value: number) => scalar('float32', value)

/** What elements at `coordinates` of an axis of `length` elements are interpolated from. */
export function tapsOf(coordinates: Value, length: Value, attributes: ResizeAttributes): readonly Tap[] {
  const last = op.Sub(length, 1)
  const onAxis = (index: Value) => op.Clip(index, float(0), last)
  if (attributes.mode === 'nearest') return [{ index: nearestIndex(coordinates, length, attributes.nearest_mode) }]
  if (attributes.mode === 'linear') {
    const at = onAxis(coordinates)
    const below = op.Floor(at)
    const ratio = op.Sub(at, below)
    return [
      { index: below, weight: op.Sub(1, ratio) },
      { index: onAxis(op.Add(below, 1)), weight: ratio },
    ]
  }
  const below = op.Floor(coordinates)
  const ratio = op.Sub(coordinates, below)
  const taps = cubicWeights(ratio, attributes.cubic_coeff_a).map((weight, i) => ({
    index: op.Add(below, i - 1),
    weight,
  }))
  const counted = attributes.exclude_outside === 1 ? withoutOutside(taps, last) : taps
  return counted.map(({ index, weight }) => ({ index: onAxis(index), weight }))
}

/** The elements of an axis of `length` elements nearest to `coordinates`. */
export const nearestIndex = (coordinates: Value, length: Value, mode: string): Value =>
  op.Clip(rounded(coordinates, mode), float(0), op.Sub(length, 1))

/** As near a half as this onnxruntime takes a coordinate to be halfway between two elements. */
const HALF_WAY = 1e-6

function rounded(x: Value, mode: string): Value {
  if (mode === 'ceil') return op.Ceil(x)
  const below = op.Floor(x)
  if (mode === 'floor') return below
  const rest = op.Sub(x, below)
  const up = mode === 'round_prefer_ceil' ? op.GreaterOrEqual(rest, 0.5 - HALF_WAY) : op.Greater(rest, 0.5 + HALF_WAY)
  return op.Add(below, op.Cast(up, { to: dtypes.float32.onnx }))
}

/** Keys' cubic f(d) = (a + 2) d^3 - (a + 3) d^2 + 1 up to distance 1 ("Cubic convolution interpolation for digital image processing", 1981). */
export const keysNearer = (d: Value, a: number): Value => polynomial(d, [a + 2, -(a + 3), 0, 1])

/** Keys' cubic f(d) = a d^3 - 5a d^2 + 8a d - 4a from distance 1 to 2. */
export const keysFarther = (d: Value, a: number): Value => polynomial(d, [a, -5 * a, 8 * a, -4 * a])

/** Weights of the neighbours at distances 1 + t, t, 1 - t, 2 - t. */
export function cubicWeights(t: Value, a: number): readonly Value[] {
  const back = op.Sub(1, t)
  return [keysFarther(op.Add(t, 1), a), keysNearer(t, a), keysNearer(back, a), keysFarther(op.Add(back, 1), a)]
}

/** Horner's scheme, highest power first. */
const polynomial = (x: Value, [highest, next, ...rest]: readonly [number, number, ...number[]]): Value =>
  rest.reduce((sum, coefficient) => op.Add(op.Mul(sum, x), coefficient), op.Add(op.Mul(x, highest), next))

/** Neighbours beyond the ends count for nothing; the others share their weight. */
function withoutOutside(taps: readonly WeightedTap[], last: Value): readonly WeightedTap[] {
  const inside = taps.map(({ index, weight }) => {
    const on = op.And(op.GreaterOrEqual(index, 0), op.LessOrEqual(index, last))
    return { index, weight: op.Where(on, weight, float(0)) }
  })
  const total = inside.map(({ weight }) => weight).reduce((a, b) => op.Add(a, b))
  return inside.map(({ index, weight }) => ({ index, weight: op.Div(weight, total) }))
}
