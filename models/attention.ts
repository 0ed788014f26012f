import { constant, op, type Value } from 'onnx-ire/graph'
import { check } from './check.js'
import { type Initializer, projection } from './layers.js'
import type { Weights } from './weights.js'

/** Options of `attention`. */
interface AttentionOptions {
  /** Number of positions: the length of axis 1 of x. */
  readonly length: number
  readonly width: number
  readonly heads: number
  readonly bias?: boolean
  /** Initializer of query, key and value weights. Default: normal with standard deviation 0.02. */
  readonly initialize?: Initializer
  /** Initializer of the output weight. Default: `initialize`. */
  readonly initializeOutput?: Initializer
  /** Added to the scores [N, heads, length, length]. */
  readonly mask?: Value
  /** Rotates queries and keys [N, heads, length, width / heads] by their positions. */
  readonly rotate?: (x: Value) => Value
}

/**
 * Multi-head attention softmax(q k^T / sqrt(width / heads) + mask) v (Vaswani et al. 2017); x and result are [N,
 * length, width].
 */
export function attention(weights: Weights, name: string, x: Value, options: AttentionOptions): Value {
  const { length, width, heads, bias = true, initialize, initializeOutput = initialize, mask, rotate } = options
  check(width % heads === 0, name, `a width of ${width} does not divide into ${heads} heads`)
  const size = width / heads
  const projectionOptions = (initializer: Initializer | undefined) => ({
    bias,
    ...(initializer === undefined ? {} : { initialize: initializer }),
  })
  const split = (part: string, perm: readonly number[]) =>
    op.Transpose(
      op.Reshape(projection(weights, `${name}.${part}`, x, width, width, projectionOptions(initialize)), [
        0,
        length,
        heads,
        size,
      ]),
      { perm },
    )
  const byHead = [0, 2, 1, 3]
  const transposed = [0, 2, 3, 1]
  const q = rotate ? rotate(split('query', byHead)) : split('query', byHead)
  const k = rotate ? op.Transpose(rotate(split('key', byHead)), { perm: [0, 1, 3, 2] }) : split('key', transposed)
  const v = split('value', byHead)
  const scores = op.Mul(op.MatMul(q, k), 1 / Math.sqrt(size))
  const mixed = op.MatMul(op.Softmax(mask ? op.Add(scores, mask) : scores, { axis: -1 }), v)
  const joined = op.Reshape(op.Transpose(mixed, { perm: byHead }), [0, length, width])
  return projection(weights, `${name}.output`, joined, width, width, projectionOptions(initializeOutput))
}

/** Mask that is 0 for earlier and equal positions and -1e9 for later ones. */
export function causalMask(length: number): Value {
  const data = Float32Array.from({ length: length * length }, (_, i) =>
    i % length > Math.floor(i / length) ? -1e9 : 0,
  )
  return constant({ dtype: 'float32', dims: [1, 1, length, length], data })
}

/** Positions 0 .. length - 1 as int64 [length]. */
export const positionsTo = (length: number): Value =>
  constant({ dtype: 'int64', dims: [length], data: BigInt64Array.from({ length }, (_, i) => BigInt(i)) })
