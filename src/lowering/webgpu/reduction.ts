import type { Value } from '../../ir/value.js'
import { knownNumbers } from '../../op/contents.js'
import type { reduction } from '../../op/definitions/reduction.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

interface Attributes {
  readonly noop_with_empty_axes: number
}

/** Along no axes a reduction is what it does to each element; onnxruntime copies the elements as they are. */
const alongNone =
  (each: (x: Value) => Value) =>
  ([x, axes]: readonly [Value, Value | null], { noop_with_empty_axes }: Attributes): Value | null =>
    noop_with_empty_axes && (axes === null || knownNumbers(axes)?.length === 0) ? each(x) : null

export const reductionLowerings = {
  ReduceL1: alongNone((x) => op.Abs(x)),
  ReduceL2: alongNone((x) => op.Abs(x)),
  ReduceLogSum: alongNone((x) => op.Log(x)),
  ReduceSumSquare: alongNone((x) => op.Mul(x, x)),
  CumProd: ([x, axis], { exclusive, reverse }) => running(x, axis, exclusive === 1, reverse === 1),
} satisfies Lowerings<typeof reduction>

/** Products of 1, 2, 4 ... neighbours: each round multiplies by what stands that many places before, or by 1. */
function running(x: Value, axis: Value, exclusive: boolean, reverse: boolean): Value | null {
  const [at] = knownNumbers(axis) ?? []
  if (at === undefined || !x.shape) return null
  const place = at < 0 ? at + x.shape.length : at
  const length = x.shape[place]
  if (typeof length !== 'number') return null
  const before = (y: Value, steps: number): Value => {
    const pads = x.shape!.map((_, other) => (other === place ? steps : 0))
    const none = x.shape!.map(() => 0)
    const [start, end] = reverse ? [steps, length + steps] : [0, length]
    return op.Slice(op.Pad(y, reverse ? [...none, ...pads] : [...pads, ...none], 1), [start], [end], [place])
  }
  let y = exclusive ? before(x, 1) : x
  for (let steps = 1; steps < length; steps *= 2) y = op.Mul(y, before(y, steps))
  return y
}
