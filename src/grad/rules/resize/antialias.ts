import { scalar } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { counting, keysFarther, keysNearer, type ResizedAxis } from '../../../op/compose/resize.js'
import type { ResizeAttributes } from '../../../op/definitions/resize.js'
import { op } from '../../../op/op.js'

const float = (value: number) => scalar('float32', value)

/**
 * Interpolation weights with the filter stretched over what becomes one element, float32 [output length, input length]:
 * w_ij = f((j - x_i) min(scale, 1)) / sum_j f, f being the hat 1 - |d| or Keys' cubic. The sum runs over all whole j; the
 * weights beyond an end count for the last element there, or with `exclude_outside` for nothing, in the sum neither.
 */
export function antialiasWeights(
  coordinates: Value,
  { scale, inputLength }: ResizedAxis,
  { mode, cubic_coeff_a, exclude_outside }: ResizeAttributes,
): Value {
  const x = op.Unsqueeze(coordinates, [1])
  const weights = (places: Value) => {
    const distance = op.Mul(op.Abs(op.Sub(places, x)), op.Min([scale, float(1)]))
    return mode === 'linear' ? op.Relu(op.Sub(1, distance)) : cubic(distance, cubic_coeff_a)
  }
  const sum = (weights: Value) => op.ReduceSum(weights, [1], { keepdims: 1 })
  const places = counting(inputLength)
  const inside = weights(places)
  if (exclude_outside === 1) return op.Div(inside, sum(inside))
  // Far enough: the filter ends 1 or 2 stretched elements from its middle, which lies less than half of one beyond the ends.
  const reach = op.Ceil(op.Div(mode === 'linear' ? 2 : 3, op.Min([scale, float(1)])))
  const before = sum(weights(op.Range(op.Neg(reach), float(0), float(1))))
  const behind = sum(weights(op.Range(inputLength, op.Add(inputLength, reach), float(1))))
  const at = (place: Value, share: Value) => op.Where(op.Equal(places, place), share, float(0))
  const folded = op.Add(op.Add(inside, at(float(0), before)), at(op.Sub(inputLength, 1), behind))
  return op.Div(folded, sum(folded))
}

/** Keys' cubic at a distance of any size: nothing from 2 on. */
function cubic(distance: Value, a: number): Value {
  const farther = op.Where(op.Less(distance, 2), keysFarther(distance, a), float(0))
  return op.Where(op.Less(distance, 1), keysNearer(distance, a), farther)
}
