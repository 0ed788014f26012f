import { formatShape } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import type { OldNode, Upgrade } from './upgrade.js'

/**
 * Before operator set 7 an operand was broadcast only when `broadcast` said so, and then the second to the first, its
 * axes meeting those of the first from `axis` on (from the end when it is not given). Today's broadcasting aligns at the
 * end: axes of length 1 are put behind.
 */
export const legacyBroadcast: Upgrade = (node) => {
  const { broadcast, axis, ...attributes } = node.attributes
  const [a, b] = node.inputs
  const aligned = broadcast === 1 && typeof axis === 'number' && a && b ? alignedAt(node, a, b, axis) : b
  return { ...node, attributes, inputs: [a ?? null, aligned ?? null] }
}

/** `b` with axes of length 1 put behind, so that its first axis meets axis `axis` of `a`. */
export function alignedAt(node: Pick<OldNode, 'operator'>, a: Value, b: Value, axis: number): Value {
  if (!a.shape || !b.shape) {
    throw new OnnxIreError(
      'invalid-shape',
      `${node.operator}: to broadcast along axis ${axis} as before operator set 7, the ranks of both operands have to be known`,
    )
  }
  const behind = a.shape.length - (axis < 0 ? axis + a.shape.length : axis) - b.shape.length
  if (behind < 0) {
    throw new OnnxIreError(
      'invalid-shape',
      `${node.operator}: ${formatShape(b.shape)} does not fit into ${formatShape(a.shape)} from axis ${axis} on`,
    )
  }
  const rank = b.shape.length
  return behind === 0
    ? b
    : op.Unsqueeze(
        b,
        Array.from({ length: behind }, (_, i) => rank + i),
      )
}
