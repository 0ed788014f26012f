import { type DType, dtypes } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import type { AttentionAttributes, attention } from '../definitions/attention.js'
import { op } from '../op.js'
import type { Expansions } from './expansion.js'
import { indicator, lengthAlong } from './shape.js'

/** [batch, sequence, heads * size] -> [batch, heads, sequence, size] */
export const splitHeads = (x: Value, heads: number): Value =>
  op.Transpose(op.Reshape(x, [0, 0, heads, -1]), { perm: [0, 2, 1, 3] })

/** [batch, heads, sequence, size] -> [batch, sequence, heads * size] */
export const mergeHeads = (x: Value): Value => op.Reshape(op.Transpose(x, { perm: [0, 2, 1, 3] }), [0, 0, -1])

function byHead(x: Value, heads: number | undefined): Value {
  if (!x.shape)
    throw new OnnxIreError(
      'not-differentiable',
      'an operand of Attention or RotaryEmbedding has an unknown number of axes',
    )
  return x.shape.length === 4 ? x : splitHeads(x, heads!)
}

/** Repeats each key or value head for the query heads that share it. */
function repeatKeyHeads(x: Value, q: Value): Value {
  const [queries, keys] = [q.shape![1], x.shape![1]]
  if (queries === keys) return x
  const group = op.Div(lengthAlong(q, 1), lengthAlong(x, 1))
  const [batch, heads, rest] = [lengthAlong(x, 0), lengthAlong(x, 1), op.Shape(x, { start: 2 })]
  const repeated = op.Expand(op.Unsqueeze(x, [2]), op.Concat([batch, heads, group, rest], { axis: 0 }))
  return op.Reshape(repeated, op.Concat([batch, lengthAlong(q, 1), rest], { axis: 0 }))
}

/** Score of masked positions: finite, so that a fully masked query gives no NaN; bfloat16 and float32 hold -3.38e38. */
export const maskedScore = (dtype: DType): number => (dtype === 'float16' ? -65504 : -3.38e38)

/** Causal mask: query i attends to keys 0 ... i + past, `past` being the number of keys before the first query. */
function causal(scores: Value, pastKey: Value | null): Value {
  const ones = op.Expand(scalar('int64', 1), op.Shape(scores, { start: -2 }))
  const visible = op.Trilu(ones, pastKey && op.Squeeze(lengthAlong(pastKey, 2), [0]), { upper: 0 })
  return op.Cast(visible, { to: dtypes.bool.onnx })
}

/** Mask of the first `lengths` keys of each batch row; if causal, the last query is aligned with the last of them. */
function withinLengths(scores: Value, lengths: Value, isCausal: boolean): Value {
  const range = (of: number) =>
    op.Range(scalar('int64', 0), op.Squeeze(lengthAlong(scores, of), [0]), scalar('int64', 1))
  const counts = op.Unsqueeze(lengths, [1, 2, 3])
  if (!isCausal) return op.Less(range(3), counts)
  const after = op.Sub(op.Unsqueeze(range(2), [1]), lengthAlong(scores, 2))
  return op.LessOrEqual(range(3), op.Add(counts, after))
}

interface Attended {
  readonly operands: readonly [q: Value, k: Value, v: Value]
  readonly mask: Value | null
  readonly past: readonly [key: Value | null, value: Value | null]
  readonly lengths: Value | null
}

/** Mask of the keys each query may attend to; null if all. */
function visibility(scores: Value, { mask, past, lengths }: Attended, isCausal: boolean): Value | null {
  const conditions = [
    mask?.dtype === 'bool' ? mask : null,
    lengths ? withinLengths(scores, lengths, isCausal) : isCausal ? causal(scores, past[0]) : null,
  ].filter((condition) => condition !== null)
  return conditions.length === 0 ? null : conditions.reduce((a, b) => op.And(a, b))
}

/**
 * The order of cap and mask, and the mask's offset after past keys, are those of onnxruntime 1.30, which follows
 * operator set 24; `qk_matmul_output_mode` numbers the stages in this order. A fully masked query gets zeros.
 */
function attended(attention: Attended, attributes: AttentionAttributes): Value[] {
  const { operands, mask, past, lengths } = attention
  const { q_num_heads, kv_num_heads, scale, softcap, is_causal, qk_matmul_output_mode } = attributes
  const q = byHead(operands[0], q_num_heads)
  const [key, value] = [byHead(operands[1], kv_num_heads), byHead(operands[2], kv_num_heads)]
  const k = past[0] ? op.Concat([past[0], key], { axis: 2 }) : key
  const v = past[1] ? op.Concat([past[1], value], { axis: 2 }) : value
  const factor =
    scale === undefined ? op.Reciprocal(op.Sqrt(op.CastLike(lengthAlong(q, 3), q))) : scalar(q.dtype, scale)
  const products = op.MatMul(op.Mul(q, factor), op.Transpose(repeatKeyHeads(k, q), { perm: [0, 1, 3, 2] }))
  const capped = softcap ? op.Mul(op.Tanh(op.Div(products, softcap)), softcap) : products
  const visible = visibility(capped, attention, is_causal !== 0)
  const seen = visible ? op.Where(visible, capped, maskedScore(capped.dtype)) : capped
  const masked = mask && mask.dtype !== 'bool' ? op.Add(seen, mask) : seen
  const shares = op.Softmax(masked, { axis: -1 })
  const mayBeBlind = mask?.dtype === 'bool' || lengths !== null
  const weights = visible && mayBeBlind ? op.Mul(shares, indicator(visible, shares)) : shares
  const y = op.MatMul(weights, repeatKeyHeads(v, q))
  const stages = [products, capped, masked, weights]
  return [operands[0].shape!.length === 3 ? mergeHeads(y) : y, k, v, stages[qk_matmul_output_mode] ?? products]
}

interface Rotation {
  readonly interleaved: number
  readonly num_heads: number
  readonly rotary_embedding_dim: number
}

/**
 * (x1, x2) -> (cos x1 - sin x2, sin x1 + cos x2) for pairs of features: neighbors when `interleaved`, else the two
 * halves. Features from `rotary_embedding_dim` on are unchanged.
 */
function rotate(x: Value, cosCache: Value, sinCache: Value, positionIds: Value | null, attributes: Rotation): Value {
  const { interleaved, num_heads, rotary_embedding_dim: size } = attributes
  if (!x.shape)
    throw new OnnxIreError('not-differentiable', 'the operand of RotaryEmbedding has an unknown number of axes')
  const flat = x.shape.length === 3
  const heads = flat ? op.Reshape(x, [0, 0, num_heads, -1]) : x
  const turning = size ? op.Slice(heads, [0], [size], [-1]) : heads
  const pair = interleaved ? -1 : -2
  const angles = (cache: Value) =>
    op.Unsqueeze(op.Unsqueeze(positionIds ? op.Gather(cache, positionIds) : cache, [flat ? 2 : 1]), [pair])
  const [cos, sin] = [angles(cosCache), angles(sinCache)]
  const pairs = op.Reshape(turning, interleaved ? [0, 0, 0, -1, 2] : [0, 0, 0, 2, -1])
  const [x1, x2] = op.Split(pairs, [1, 1], { axis: pair })
  const turned = op.Concat([op.Sub(op.Mul(cos, x1!), op.Mul(sin, x2!)), op.Add(op.Mul(sin, x1!), op.Mul(cos, x2!))], {
    axis: pair,
  })
  const y = op.Reshape(turned, op.Shape(turning))
  const whole = size ? op.Concat([y, op.Slice(heads, [size], [Number.MAX_SAFE_INTEGER], [-1])], { axis: -1 }) : y
  return op.Reshape(whole, op.Shape(x))
}

export const attentionExpansions = {
  Attention: ([q, k, v, mask = null, pastKey = null, pastValue = null, lengths = null], attributes) => {
    const [y, presentKey, presentValue, products] = attended(
      { operands: [q, k, v], mask, past: [pastKey, pastValue], lengths },
      attributes,
    )
    return [y!, presentKey!, presentValue!, products!]
  },
  RotaryEmbedding: ([x, cos, sin, positionIds = null], attributes) => rotate(x, cos, sin, positionIds, attributes),
} satisfies Expansions<typeof attention>
