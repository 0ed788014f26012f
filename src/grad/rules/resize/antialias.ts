import { scalar } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { counting, keysFarther, keysNearer, type ResizedAxis } from '../../../op/compose/resize.js'
import type { ResizeAttributes } from '../../../op/definitions/resize.js'
import { op } from '../../../op/op.js'

const float = (value: number) => scalar('float32', value)

/**
 * Interpolation weights of antialiased resizing, float32 [output length, input length]: w_ij = f((j - x_i) min(scale,
 * 1)) / sum_j f, where f is the hat function 1 - |d| or Keys' cubic. The sum runs over all integers j. Weights beyond
 * an end are added to the last element there; with `exclude_outside` they are omitted, from the sum too.
 */
export function antialiasWeights(
  coordinates: Value,
  { scale, inputLength }: ResizedAxis,
  { mode, cubic_coeff_a, exclude_outside }: ResizeAttributes,
): Value {
  const x = op.Unsqueeze(coordinates, [1])
  const weights = (positions: Value) => {
    const distance = op.Mul(op.Abs(op.Sub(positions, x)), op.Min([scale, float(1)]))
    return mode === 'linear' ? op.Relu(op.Sub(1, distance)) : cubic(distance, cubic_coeff_a)
  }
  const sum = (weights: Value) => op.ReduceSum(weights, [1], { keepdims: 1 })
  const positions = counting(inputLength)
  const inside = weights(positions)
  if (exclude_outside === 1) return op.Div(inside, sum(inside))
  // Sufficient reach: the filter ends 1 or 2 stretched elements from its center, which is less than half an element
  // beyond the ends.
  const reach = op.Ceil(op.Div(mode === 'linear' ? 2 : 3, op.Min([scale, float(1)])))
  const before = sum(weights(op.Range(op.Neg(reach), float(0), float(1))))
  const after = sum(weights(op.Range(inputLength, op.Add(inputLength, reach), float(1))))
  const at = (position: Value, share: Value) => op.Where(op.Equal(positions, position), share, float(0))
  const folded = op.Add(op.Add(inside, at(float(0), before)), at(op.Sub(inputLength, 1), after))
  return op.Div(folded, sum(folded))
}

/** Keys' cubic convolution kernel at any distance; 0 from 2 on. */
function cubic(distance: Value, a: number): Value {
  const farther = op.Where(op.Less(distance, 2), keysFarther(distance, a), float(0))
  return op.Where(op.Less(distance, 1), keysNearer(distance, a), farther)
}
