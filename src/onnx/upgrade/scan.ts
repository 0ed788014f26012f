import { body } from '../../ir/body.js'
import { input, int64s } from '../../ir/leaf.js'
import type { Body, Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import type { Rewrite, Upgrades } from './rewrite.js'

/** The first `length` elements along the first axis. */
const takeFirst = (x: Value, length: Value): Value => op.Slice(x, int64s([0]), length, int64s([0]))

/** Appends zeros along the first axis, up to `length` elements. */
function padTo(x: Value, length: Value): Value {
  const missing = op.Sub(length, op.Shape(x, { start: 0, end: 1 }))
  return op.Pad(x, op.Concat([int64s([0]), missing], { axis: 0 }), null, int64s([0]))
}

/**
 * Scan of operator set 8, whose operands have a batch axis before the sequence axis: a Scan over the examples, with the
 * Scan of today as its body. If sequence lengths are given, each sequence is cut to its length, and its results are
 * padded with zeros.
 */
const nestOverBatch: Rewrite = ({ inputs: [lengths, ...operands], attributes }) => {
  const {
    body: inner,
    directions,
    num_scan_inputs,
  } = attributes as {
    body: Body
    directions?: readonly number[]
    num_scan_inputs: number
  }
  const batches = [...(operands as Value[]), ...(lengths ? [op.Unsqueeze(lengths, int64s([1]))] : [])]
  const states = operands.length - num_scan_inputs
  const examples = batches.map((x) => input('example', x.dtype, x.shape?.slice(1)))
  return op.Scan(batches, {
    num_scan_inputs: batches.length,
    body: body(examples, (...example) => {
      const length = lengths ? example.pop()! : undefined
      const results = op.Scan(
        example.map((x, i) => (length && i >= states ? takeFirst(x, length) : x)),
        { body: inner, num_scan_inputs, scan_input_directions: directions },
      )
      const fullLength = op.Shape(example[states]!, { start: 0, end: 1 })
      return results.map((y, i) => (length && i >= states ? padTo(y, fullLength) : y))
    }),
  })
}

export const scanUpgrades: Upgrades = { Scan: { 9: nestOverBatch } }
