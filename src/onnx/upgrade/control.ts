import { body } from '../../ir/body.js'
import { input, int64s } from '../../ir/leaf.js'
import type { Body, Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import type { Upgrade, Upgrades } from './upgrade.js'

/** The first `length` elements along the first axis. */
const first = (x: Value, length: Value): Value => op.Slice(x, int64s([0]), length, int64s([0]))

/** Zeros behind the end, up to `length` elements along the first axis. */
function filled(x: Value, length: Value): Value {
  const missing = op.Sub(length, op.Shape(x, { start: 0, end: 1 }))
  return op.Pad(x, op.Concat([int64s([0]), missing], { axis: 0 }), null, int64s([0]))
}

/**
 * In operator set 8 a batch came before the sequence: a Scan over examples of today's Scan. With lengths of the sequences each
 * is cut to its own, and its results are filled up with zeros.
 */
const overExamples: Upgrade = ({ inputs: [lens, ...operands], attributes }) => {
  const {
    body: of,
    directions,
    num_scan_inputs,
  } = attributes as {
    body: Body
    directions?: readonly number[]
    num_scan_inputs: number
  }
  const batches = [...(operands as Value[]), ...(lens ? [op.Unsqueeze(lens, int64s([1]))] : [])]
  const states = operands.length - num_scan_inputs
  const each = batches.map((x) => input('example', x.dtype, x.shape?.slice(1)))
  return op.Scan(batches, {
    num_scan_inputs: batches.length,
    body: body(each, (...example) => {
      const length = lens ? example.pop()! : undefined
      const results = op.Scan(
        example.map((x, i) => (length && i >= states ? first(x, length) : x)),
        { body: of, num_scan_inputs, scan_input_directions: directions },
      )
      const whole = op.Shape(example[states]!, { start: 0, end: 1 })
      return results.map((y, i) => (length && i >= states ? filled(y, whole) : y))
    }),
  })
}

export const controlUpgrades: Upgrades = { Scan: { 9: overExamples } }
