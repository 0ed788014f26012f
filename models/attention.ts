import { constant, op, type Value } from 'onnx-ire/graph'
import { check } from './check.js'
import { type Draw, projection } from './layers.js'
import type { Weights } from './weights.js'

export interface AttentionOptions {
  /** Positions: the length of axis 1 of x. */
  readonly length: number
  readonly width: number
  readonly heads: number
  readonly bias?: boolean
  /** How query, key and value weights are drawn. Default: normal, of standard deviation 0.02. */
  readonly draw?: Draw
  /** How the output weight is drawn. Default as the others. */
  readonly drawOutput?: Draw
  /** Added to the scores [N, heads, length, length]. */
  readonly mask?: Value
  /** Turns queries and keys [N, heads, length, width / heads] by their positions. */
  readonly turn?: (x: Value) => Value
}

/** softmax(q k^T / sqrt(width / heads) + mask) v over `heads` heads (Vaswani et al. 2017): x and result [N, length, width]. */
export function attention(weights: Weights, name: string, x: Value, options: AttentionOptions): Value {
  const { length, width, heads, bias = true, draw, drawOutput = draw, mask, turn } = options
  check(width % heads === 0, name, `a width of ${width} does not divide into ${heads} heads`)
  const size = width / heads
  const drawn = (how: Draw | undefined) => ({ bias, ...(how === undefined ? {} : { draw: how }) })
  const split = (part: string, perm: readonly number[]) =>
    op.Transpose(
      op.Reshape(projection(weights, `${name}.${part}`, x, width, width, drawn(draw)), [0, length, heads, size]),
      { perm },
    )
  const byHead = [0, 2, 1, 3]
  const transposed = [0, 2, 3, 1]
  const q = turn ? turn(split('query', byHead)) : split('query', byHead)
  const k = turn ? op.Transpose(turn(split('key', byHead)), { perm: [0, 1, 3, 2] }) : split('key', transposed)
  const v = split('value', byHead)
  const scores = op.Mul(op.MatMul(q, k), 1 / Math.sqrt(size))
  const mixed = op.MatMul(op.Softmax(mask ? op.Add(scores, mask) : scores, { axis: -1 }), v)
  const joined = op.Reshape(op.Transpose(mixed, { perm: byHead }), [0, length, width])
  return projection(weights, `${name}.output`, joined, width, width, drawn(drawOutput))
}

/** 0 where a position may look, -1e9 where it would look ahead. */
export function causalMask(length: number): Value {
  const data = Float32Array.from({ length: length * length }, (_, i) =>
    i % length > Math.floor(i / length) ? -1e9 : 0,
  )
  return constant({ dtype: 'float32', dims: [1, 1, length, length], data })
}

/** The positions 0 .. length - 1. */
export const positionsTo = (length: number): Value =>
  constant({ dtype: 'int64', dims: [length], data: BigInt64Array.from({ length }, (_, i) => BigInt(i)) })
