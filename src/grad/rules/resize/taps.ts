import { scalar } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/index.js'
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
  if (attributes.mode === 'nearest') return [{ index: onAxis(rounded(coordinates, attributes.nearest_mode)) }]
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

function rounded(x: Value, mode: string): Value {
  switch (mode) {
    case 'floor':
      return op.Floor(x)
    case 'ceil':
      return op.Ceil(x)
    case 'round_prefer_ceil':
      return op.Floor(op.Add(x, 0.5))
    default:
      return op.Ceil(op.Sub(x, 0.5))
  }
}

/**
 * Weights of the neighbours at distances 1 + t, t, 1 - t, 2 - t (R. Keys, "Cubic convolution interpolation for digital image
 * processing", 1981): (a + 2) d^3 - (a + 3) d^2 + 1 up to distance 1, a d^3 - 5a d^2 + 8a d - 4a beyond.
 */
export function cubicWeights(t: Value, a: number): readonly Value[] {
  const near = (d: Value) => polynomial(d, [a + 2, -(a + 3), 0, 1])
  const far = (d: Value) => polynomial(d, [a, -5 * a, 8 * a, -4 * a])
  const back = op.Sub(1, t)
  return [far(op.Add(t, 1)), near(t), near(back), far(op.Add(back, 1))]
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
