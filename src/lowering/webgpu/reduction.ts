import type { Value } from '../../ir/value.js'
import { knownNumbers } from '../../op/contents.js'
import type { reduction } from '../../op/definitions/reduction.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'
import { largestFinite } from './elementwise.js'

interface Attributes {
  readonly noop_with_empty_axes: number
}

/** A reduction over no axes applies its function to each element; onnxruntime's kernel copies the elements instead. */
const withoutAxes =
  (each: (x: Value) => Value) =>
  ([x, axes]: readonly [Value, Value | null], { noop_with_empty_axes }: Attributes): Value | null =>
    noop_with_empty_axes && (axes === null || knownNumbers(axes)?.length === 0) ? each(x) : null

export const reductionLowerings = {
  ReduceL1: withoutAxes((x) => op.Abs(x)),
  ReduceL2: withoutAxes((x) => op.Abs(x)),
  ReduceLogSum: withoutAxes((x) => op.Log(x)),
  // The kernel sums exponentials as they are: infinity from 89 on.
  ReduceLogSumExp: ([x, axes], attributes) =>
    withoutAxes((x) => x)([x, axes], attributes) ?? logSumExp(x, axes, attributes.keepdims === 1),
  ReduceSumSquare: withoutAxes((x) => op.Mul(x, x)),
  CumProd: (inputs, attributes) => accumulate(op.Mul, 1, inputs, attributes),
} satisfies Lowerings<typeof reduction>

/** log sum exp(x - m) + m, where m is the largest element, or the largest finite number if it is infinite. */
function logSumExp(x: Value, axes: Value | null, keepdims: boolean): Value {
  const most = largestFinite(x)
  const shift = op.Clip(op.ReduceMax(x, axes, { keepdims: 1 }), -most, most)
  const sum = op.ReduceSum(op.Exp(op.Sub(x, shift)), axes, { keepdims: 1 })
  const result = op.Add(op.Log(sum), shift)
  return keepdims ? result : op.ReduceSum(result, axes, { keepdims: 0 })
}

/**
 * Builds a cumulative sum or product by doubling: pass k combines each element with the one 2^k positions before it, or
 * with the neutral element. Returns null if the length is unknown.
 */
export function accumulate(
  combine: (a: Value, b: Value) => Value,
  neutral: number,
  [x, axis]: readonly [Value, Value],
  { exclusive, reverse }: { readonly exclusive: number; readonly reverse: number },
): Value | null {
  const [at] = knownNumbers(axis) ?? []
  if (at === undefined || !x.shape) return null
  const place = at < 0 ? at + x.shape.length : at
  const length = x.shape[place]
  if (typeof length !== 'number') return null
  const before = (y: Value, steps: number): Value => {
    const pads = x.shape!.map((_, other) => (other === place ? steps : 0))
    const none = x.shape!.map(() => 0)
    const [start, end] = reverse ? [steps, length + steps] : [0, length]
    return op.Slice(op.Pad(y, reverse ? [...none, ...pads] : [...pads, ...none], neutral), [start], [end], [place])
  }
  let y = exclusive ? before(x, 1) : x
  for (let steps = 1; steps < length; steps *= 2) y = combine(y, before(y, steps))
  return y
}
