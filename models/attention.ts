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
  /** Heads of keys and values, each shared by heads / keyHeads consecutive queries. Default: `heads`. */
  readonly keyHeads?: number
  /** Whether the layers have biases: query, key and value, and the output. Default true; for the output: `bias`. */
  readonly bias?: boolean
  readonly outputBias?: boolean
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
 * Multi-head attention softmax(q k^T / sqrt(width / heads) + mask) v (Vaswani et al. 2017), with fewer keys and values
 * than queries if `keyHeads` is smaller (Ainslie et al. 2023); x and result are [N, length, width].
 */
export function attention(weights: Weights, name: string, x: Value, options: AttentionOptions): Value {
  const { length, width, heads, keyHeads = heads, bias = true, outputBias = bias, mask, rotate } = options
  const { initialize, initializeOutput = initialize } = options
  check(width % heads === 0, name, `a width of ${width} does not divide into ${heads} heads`)
  check(heads % keyHeads === 0, name, `${heads} heads cannot share ${keyHeads} keys and values evenly`)
  const size = width / heads
  const group = heads / keyHeads
  const linear = (part: string, y: Value, to: number, initializer: Initializer | undefined, hasBias: boolean) =>
    projection(weights, `${name}.${part}`, y, width, to, {
      bias: hasBias,
      ...(initializer === undefined ? {} : { initialize: initializer }),
    })
  const split = (part: string, count: number, perm: readonly number[]) =>
    op.Transpose(op.Reshape(linear(part, x, count * size, initialize, bias), [0, length, count, size]), { perm })
  // Queries that share a key are rows of one matrix.
  const stack = (y: Value) => (group === 1 ? y : op.Reshape(y, [0, keyHeads, group * length, -1]))
  const unstack = (y: Value) => (group === 1 ? y : op.Reshape(y, [0, heads, length, -1]))
  const byHead = [0, 2, 1, 3]
  const transposed = [0, 2, 3, 1]
  const rotated = (part: string, count: number) => rotate!(split(part, count, byHead))
  const q = rotate ? rotated('query', heads) : split('query', heads, byHead)
  const k = rotate ? op.Transpose(rotated('key', keyHeads), { perm: [0, 1, 3, 2] }) : split('key', keyHeads, transposed)
  const v = split('value', keyHeads, byHead)
  const scores = op.Mul(unstack(op.MatMul(stack(q), k)), 1 / Math.sqrt(size))
  const shares = op.Softmax(mask ? op.Add(scores, mask) : scores, { axis: -1 })
  const mixed = unstack(op.MatMul(stack(shares), v))
  const joined = op.Reshape(op.Transpose(mixed, { perm: byHead }), [0, length, width])
  return linear('output', joined, width, initializeOutput, outputBias)
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
