import { dtypes } from '../../../ir/dtype.js'
import { int64s, scalar } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { OnnxIreError } from '../../../util/errors.js'
import { defineRewrite, type NodeReader, unsupportedError } from '../rewrite.js'
import { axisLength } from './rotary.js'

/** Splits heads: [batch, length, heads * size] -> [batch, heads, length, size]. */
export const splitHeads = (x: Value, heads: number): Value =>
  op.Transpose(op.Reshape(x, [0, 0, heads, -1]), { perm: [0, 2, 1, 3] })
const mergeHeads = (x: Value): Value => op.Reshape(op.Transpose(x, { perm: [0, 2, 1, 3] }), [0, 0, -1])

export interface Heads {
  /** [batch, length, heads * size]; keys and values also [batch, heads, length, size]. */
  readonly operands: readonly [q: Value, k: Value, v: Value]
  readonly heads: number
  readonly keyHeads: number
  /** The bias that is added to the scores. */
  readonly bias: Value | null
  readonly past: readonly [key: Value | null, value: Value | null]
  readonly causal: boolean
  readonly scale: number | undefined
  readonly softcap?: number
}

/**
 * Builds the Attention operator of ai.onnx. Returns [y, presentKey, presentValue]. A scale of 0 is the default scale,
 * 1 / sqrt(size).
 */
export function buildAttention({ operands, heads, keyHeads, bias, past, causal, scale, softcap = 0 }: Heads): Value[] {
  const flat = operands.every((x) => x.shape?.length === 3)
  const [q, k, v] = operands.map((x, i) =>
    flat || x.shape?.length === 4 ? x : splitHeads(x, i === 0 ? heads : keyHeads),
  ) as [Value, Value, Value]
  const length = op.Shape(q, flat ? { start: 1, end: 2 } : { start: 2, end: 3 })
  const [y, presentKey, presentValue] = op.Attention(q, k, v, bias && expandQueries(bias, length), ...past, {
    is_causal: causal ? 1 : 0,
    softcap,
    ...(scale ? { scale } : {}),
    ...(flat ? { q_num_heads: heads, kv_num_heads: keyHeads } : {}),
  })
  return [flat ? y : mergeHeads(y), presentKey, presentValue]
}

/** Expands a bias over the queries: onnxruntime broadcasts it over batch and heads only. */
const expandQueries = (bias: Value, length: Value): Value =>
  bias.shape?.at(-2) === 1 ? op.Expand(bias, op.Concat([length, int64s([1])], { axis: 0 })) : bias

/** The sum of two values, either of which may be absent. */
export const addOptional = (a: Value | null, b: Value | null): Value | null => (a && b ? op.Add(a, b) : (a ?? b))

/** The bias of a mask: 0 for visible keys, `filter` for hidden ones. */
const toBias = (visible: Value, like: Value, filter: number): Value =>
  op.Where(
    visible,
    scalar(like.dtype, 0),
    scalar(like.dtype, like.dtype === 'float16' ? Math.max(filter, -65504) : filter),
  )

/**
 * Builds a bias [batch, 1, 1 or length, total] from a mask in any form that onnxruntime accepts:
 * - [batch]: the number of keys before the padding; [2 * batch]: these numbers, followed by the first positions
 * - [batch, total] or [batch, length, total]: 1 for visible keys
 * - [batch, 1, max, max]: 1 for visible keys, of which the rows of the queries are used
 */
function buildMaskBias(
  mask: Value | null,
  q: Value,
  { past, total, filter }: { past: Value | null; total: Value; filter: number },
): Value | null {
  if (!mask) return null
  const { shape } = mask
  if (!shape) throw unsupportedError('a mask of unknown rank')
  if (shape.length === 1) return toBias(isWithinLengths(mask, q, total), q, filter)
  const seen = op.Greater(mask, 0)
  if (shape.length === 2) return toBias(op.Unsqueeze(seen, [1, 2]), q, filter)
  if (shape.length === 3) return toBias(op.Unsqueeze(seen, [1]), q, filter)
  const first = past ?? op.Sub(total, total)
  const rows = op.Slice(mask, first, op.Add(first, axisLength(q, 1)), [2])
  return toBias(op.Greater(op.Slice(rows, [0], total, [3]), 0), q, filter)
}

/**
 * Whether a key is before the end of its row and, if starts are given, not before the start: bool [batch, 1, 1,
 * total].
 */
function isWithinLengths(mask: Value, q: Value, total: Value): Value {
  const [length, rows] = [mask.shape![0], q.shape?.[0]]
  if (typeof length === 'number' && typeof rows === 'number' && length !== rows && length !== 2 * rows)
    throw unsupportedError(`a mask [${length}] for a batch of ${rows}`)
  const keys = op.Range(
    scalar('int32', 0),
    op.Squeeze(op.Cast(total, { to: dtypes.int32.onnx }), [0]),
    scalar('int32', 1),
  )
  const batch = axisLength(q, 0)
  // If the mask has no starts, zeros take their place.
  const padded = op.Concat([mask, op.Expand(scalar(mask.dtype, 0), batch)], { axis: 0 })
  const column = (x: Value) => op.Unsqueeze(x, [1, 2, 3])
  const ends = column(op.Slice(padded, [0], batch, [0]))
  const starts = column(op.Slice(padded, batch, op.Mul(batch, 2), [0]))
  return op.And(op.Less(keys, ends), op.GreaterOrEqual(keys, starts))
}

const split = (x: Value, axis: number): Value[] =>
  op.Split(x, { axis, num_outputs: 2 }).map((part) => op.Squeeze(part, [axis]))

/** Splits past keys and values, which are one tensor [2, batch, heads, past, size]. */
const splitPast = (past: Value | null): readonly [Value | null, Value | null] =>
  past ? (split(past, 0) as [Value, Value]) : [null, null]

const readFilter = (node: NodeReader): number => node.number('mask_filter_value', -10000)

/** Self-attention with the projection of its input: y = attention(q, k, v) with [q, k, v] = x W + b. */
const selfAttention = defineRewrite(
  [
    'do_rotary',
    'mask_filter_value',
    'num_heads',
    'past_present_share_buffer',
    'qkv_hidden_sizes',
    'rotary_embedding_dim',
    'scale',
    'unidirectional',
  ],
  (node) => {
    const [x, weight, bias, past] = [
      node.operand(0),
      node.operand(1),
      node.optionalOperand(2),
      splitPast(node.optionalOperand(4)),
    ]
    if (node.number('do_rotary', 0)) throw unsupportedError('do_rotary')
    if (node.number('past_present_share_buffer', 0)) throw unsupportedError('past_present_share_buffer')
    const product = op.MatMul(x, weight)
    const projected = bias ? op.Add(product, bias) : product
    const sizes = node.numbers('qkv_hidden_sizes')
    const qkv = sizes?.length
      ? op.Split(projected, sizes, { axis: 2 })
      : op.Split(projected, { axis: 2, num_outputs: 3 })
    if (qkv.length !== 3) throw new OnnxIreError('invalid-model', 'qkv_hidden_sizes needs three lengths')
    const pastLength = past[0] && axisLength(past[0], 2)
    const total = addOptional(axisLength(x, 1), pastLength)!
    const heads = node.count('num_heads')
    const mask = buildMaskBias(node.optionalOperand(3), x, { past: pastLength, total, filter: readFilter(node) })
    const [y, presentKey, presentValue] = buildAttention({
      operands: qkv as [Value, Value, Value],
      heads,
      keyHeads: heads,
      bias: addOptional(mask, node.optionalOperand(5)),
      past,
      causal: node.number('unidirectional', 0) !== 0,
      scale: node.number('scale'),
    })
    const present = () => op.Concat([op.Unsqueeze(presentKey!, [0]), op.Unsqueeze(presentValue!, [0])], { axis: 0 })
    return [y!, node.outputCount > 1 ? present() : null]
  },
)

/** Splits [batch, length, heads, parts, size] into `parts` tensors [batch, length, heads * size]. */
const unpackOperands = (x: Value, parts: number): Value[] =>
  op
    .Split(
      x,
      Array.from({ length: parts }, () => 1),
      { axis: 3 },
    )
    .map((part) => op.Reshape(part, [0, 0, -1]))

/** The queries, keys and values, which are one, two or three operands. */
function readOperands(node: NodeReader): [q: Value, k: Value, v: Value] {
  const [query, key, value] = [node.operand(0), node.optionalOperand(1), node.optionalOperand(2)]
  if (!query.shape || (key && !key.shape)) throw unsupportedError('an operand of unknown rank')
  if (query.shape.length === 5) return unpackOperands(query, 3) as [Value, Value, Value]
  if (!key) throw new OnnxIreError('invalid-model', 'needs a key')
  if (key.shape!.length === 5) return [query, ...(unpackOperands(key, 2) as [Value, Value])]
  if (!value) throw new OnnxIreError('invalid-model', 'needs a value')
  return [query, key, value]
}

/** Adds the parts of a bias to queries, keys and values. Keys and values that are already split by head get no bias. */
function addBias(
  operands: readonly [q: Value, k: Value, v: Value],
  bias: Value | null,
): [q: Value, k: Value, v: Value] {
  if (!bias) return [...operands]
  const [q, k, v] = operands
  if (k.shape?.length === 4) return [op.Add(q, op.Slice(bias, [0], axisLength(q, 2), [0])), k, v]
  const parts = op.Split(
    bias,
    op.Concat(
      [q, k, v].map((x) => axisLength(x, 2)),
      { axis: 0 },
    ),
    { axis: 0 },
  )
  return operands.map((x, i) => op.Add(x, parts[i]!)) as [Value, Value, Value]
}

const multiHeadAttention = defineRewrite(['mask_filter_value', 'num_heads', 'scale', 'unidirectional'], (node) => {
  if (node.optionalOperand(8) ?? node.optionalOperand(9)) throw unsupportedError('a shared buffer of past keys')
  const operands = addBias(readOperands(node), node.optionalOperand(3))
  const [q, k] = operands
  const past = [node.optionalOperand(6), node.optionalOperand(7)] as const
  const pastLength = past[0] && axisLength(past[0], 2)
  const total = addOptional(axisLength(k, k.shape?.length === 4 ? 2 : 1), pastLength)!
  const heads = node.count('num_heads')
  const mask = buildMaskBias(node.optionalOperand(4), q, { past: pastLength, total, filter: readFilter(node) })
  return buildAttention({
    operands,
    heads,
    keyHeads: heads,
    bias: addOptional(mask, node.optionalOperand(5)),
    past,
    causal: node.number('unidirectional', 0) !== 0,
    scale: node.number('scale'),
  })
})

export const attentionRewrites = { Attention: selfAttention, MultiHeadAttention: multiHeadAttention }
