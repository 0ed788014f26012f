import { scalar } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { defineRewrite, unsupportedError } from '../rewrite.js'

/** The length of one axis as a tensor [1]. */
export const axisLength = (x: Value, axis: number): Value => op.Shape(x, { start: axis, end: axis + 1 })

/** The positions first, first + 1 ... for every row: [batch, length]. */
export function consecutivePositions(first: Value, batch: Value, length: Value): Value {
  const steps = op.Range(scalar('int64', 0), op.Squeeze(length, [0]), scalar('int64', 1))
  return op.Expand(op.Add(steps, first), op.Concat([batch, length], { axis: 0 }))
}

/** The length of an axis. Throws `unsupported-operator` if it is symbolic, because heads cannot be split then. */
export function requireLength(x: Value, axis: number, what: string): number {
  const length = x.shape?.[axis]
  if (typeof length === 'number') return length
  throw unsupportedError(`${what} of unknown length`)
}

/** Applies rotary embedding to [batch, length, heads * size], with the angles at `positions`. */
export function rotate(
  x: Value,
  caches: readonly [cos: Value, sin: Value],
  positions: Value,
  { heads, size, interleaved }: { heads: number; size: number | undefined; interleaved: number },
): Value {
  const turning = 2 * requireLength(caches[0], 1, 'rotary embedding with a cache')
  return op.RotaryEmbedding(x, ...caches, positions, {
    interleaved,
    num_heads: heads,
    rotary_embedding_dim: size === turning ? 0 : turning,
  })
}

export const rotaryRewrites = {
  RotaryEmbedding: defineRewrite(
    ['interleaved', 'is_packed_batching', 'num_heads', 'rotary_embedding_dim', 'scale'],
    (node) => {
      const [x, positionIds, cos, sin] = [node.operand(0), node.operand(1), node.operand(2), node.operand(3)]
      if (node.number('is_packed_batching', 0)) throw unsupportedError('packed batching')
      if (node.number('scale', 1) !== 1) throw unsupportedError('a scale')
      const flat = x.shape?.length === 3
      if (!flat && x.shape?.length !== 4) throw unsupportedError('an operand of unknown rank')
      // A single position is the first position of every row.
      const offset = positionIds.shape?.length === 1
      const positions = offset
        ? consecutivePositions(positionIds, axisLength(x, 0), axisLength(x, flat ? 1 : 2))
        : positionIds
      const rotary_embedding_dim = node.number('rotary_embedding_dim', 0)
      // Without a number of heads, the cache covers whole heads.
      const heads = () => requireLength(x, 2, 'heads') / (2 * requireLength(cos, 1, 'a cache'))
      const num_heads = flat ? node.number('num_heads', 0) || heads() : 0
      const interleaved = node.number('interleaved', 0)
      return [op.RotaryEmbedding(x, cos, sin, positions, { interleaved, num_heads, rotary_embedding_dim })]
    },
  ),
}
