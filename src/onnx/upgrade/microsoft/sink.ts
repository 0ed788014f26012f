import { int64s, scalar } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { attended, byHead, type Heads } from './attention.js'
import { axisLength } from './rotary.js'

/** One key or value of zeros behind those of every head. */
const withZero = (x: Value): Value =>
  op.Concat(
    [
      x,
      op.Expand(scalar(x.dtype, 0), op.Concat([op.Shape(x, { end: 2 }), int64s([1]), axisLength(x, 3)], { axis: 0 })),
    ],
    {
      axis: 2,
    },
  )

/**
 * softmax with e^sink in its denominator, one sink per head: attention to one more key of zeros, whose score is the bias
 * `sink` and whose value is zero.
 */
export function attendedWithSink(attention: Heads, sink: Value): Value[] {
  const { operands, heads, keyHeads, past } = attention
  const [key, value] = [byHead(operands[1], keyHeads), byHead(operands[2], keyHeads)]
  const presentKey = past[0] ? op.Concat([past[0], key], { axis: 2 }) : key
  const presentValue = past[1] ? op.Concat([past[1], value], { axis: 2 }) : value
  const perHead = op.Expand(op.Reshape(sink, [1, -1, 1, 1]), [1, heads, 1, 1])
  const bias = op.Add(attention.bias!, op.Sub(perHead, perHead))
  const column = op.Expand(perHead, op.Concat([op.Shape(bias, { end: 3 }), int64s([1])], { axis: 0 }))
  const [y] = attended({
    ...attention,
    operands: [operands[0], withZero(presentKey), withZero(presentValue)],
    bias: op.Concat([bias, column], { axis: 3 }),
    past: [null, null],
  })
  return [y!, presentKey, presentValue]
}
