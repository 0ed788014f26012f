import { dtypes } from '../../ir/dtype.js'
import { int64s, scalar } from '../../ir/leaf.js'
import { divDims, mulDims } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { mergeHeads, splitHeads } from '../../op/compose/attention.js'
import { lengthAlong } from '../../op/compose/shape.js'
import { op } from '../../op/op.js'

import { OnnxIreError } from '../../util/errors.js'
import { defineRewrite, type NodeReader, unsupportedError } from './rewrite.js'

interface Heads {
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
function buildAttention({ operands, heads, keyHeads, bias, past, causal, scale, softcap = 0 }: Heads): Value[] {
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
const addOptional = (a: Value | null, b: Value | null): Value | null => (a && b ? op.Add(a, b) : (a ?? b))

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
  const rows = op.Slice(mask, first, op.Add(first, lengthAlong(q, 1)), [2])
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
  const batch = lengthAlong(q, 0)
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
    const pastLength = past[0] && lengthAlong(past[0], 2)
    const total = addOptional(lengthAlong(x, 1), pastLength)!
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
  if (k.shape?.length === 4) return [op.Add(q, op.Slice(bias, [0], lengthAlong(q, 2), [0])), k, v]
  const parts = op.Split(
    bias,
    op.Concat(
      [q, k, v].map((x) => lengthAlong(x, 2)),
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
  const pastLength = past[0] && lengthAlong(past[0], 2)
  const total = addOptional(lengthAlong(k, k.shape?.length === 4 ? 2 : 1), pastLength)!
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

/** Appends a key or value of zeros for every head. */
const appendZero = (x: Value): Value =>
  op.Concat(
    [
      x,
      op.Expand(scalar(x.dtype, 0), op.Concat([op.Shape(x, { end: 2 }), int64s([1]), lengthAlong(x, 3)], { axis: 0 })),
    ],
    {
      axis: 2,
    },
  )

/**
 * Builds attention with a sink: softmax with an additional term e^sink in its denominator, one sink per head. It equals
 * attention with an additional key of zeros, whose bias is `sink` and whose value is zero.
 */
function buildAttentionWithSink(attention: Heads, sink: Value): Value[] {
  const { operands, heads, keyHeads, past } = attention
  const [key, value] = [splitHeads(operands[1], keyHeads), splitHeads(operands[2], keyHeads)]
  const presentKey = past[0] ? op.Concat([past[0], key], { axis: 2 }) : key
  const presentValue = past[1] ? op.Concat([past[1], value], { axis: 2 }) : value
  const perHead = op.Expand(op.Reshape(sink, [1, -1, 1, 1]), [1, heads, 1, 1])
  const bias = op.Add(attention.bias!, op.Sub(perHead, perHead))
  const column = op.Expand(perHead, op.Concat([op.Shape(bias, { end: 3 }), int64s([1])], { axis: 0 }))
  const [y] = buildAttention({
    ...attention,
    operands: [operands[0], appendZero(presentKey), appendZero(presentValue)],
    bias: op.Concat([bias, column], { axis: 3 }),
    past: [null, null],
  })
  return [y!, presentKey, presentValue]
}

type Operands = [q: Value, k: Value, v: Value]

/** The queries, keys and values, which are three operands or one concatenated operand. */
function readGroupedOperands(node: NodeReader, heads: number, keyHeads: number): Operands {
  const [query, key, value] = [node.operand(0), node.optionalOperand(1), node.optionalOperand(2)]
  if (key && value) return [query, key, value]
  const size = divDims(requireLength(query, 2, 'packed queries, keys and values'), heads + 2 * keyHeads) as number
  return op.Split(
    query,
    [heads, keyHeads, keyHeads].map((count) => count * size),
    { axis: 2 },
  ) as readonly Value[] as Operands
}

/** The bias [length, total] that hides keys after a query, and keys `window` or more positions before it. */
function buildWindowBias(q: Value, first: Value, total: Value, window: number): Value {
  const range = (length: Value) => op.Range(scalar('int64', 0), op.Squeeze(length, [0]), scalar('int64', 1))
  const positions = op.Unsqueeze(op.Add(range(lengthAlong(q, 1)), first), [1])
  const distance = op.Sub(positions, range(total))
  const past = op.GreaterOrEqual(distance, 0)
  const visible = window > 0 ? op.And(past, op.Less(distance, window)) : past
  return op.Where(visible, scalar(q.dtype, 0), scalar(q.dtype, q.dtype === 'float16' ? -65504 : -3e38))
}

const attributes = [
  'do_rotary',
  'k_quant_type',
  'kv_cache_bit_width',
  'kv_num_heads',
  'local_window_size',
  'num_heads',
  'qk_output',
  'rotary_interleaved',
  'scale',
  'smooth_softmax',
  'softcap',
  'v_quant_type',
]

/**
 * Causal attention in which groups of query heads share keys and values, with rotary embedding of queries and keys.
 * All past keys are used, so `seqlens_k` is redundant: rows may be padded at their end, which no query reads, but not
 * within the past.
 */
export const groupedQueryRewrites = {
  GroupQueryAttention: defineRewrite(attributes, (node) => {
    const [heads, keyHeads] = [node.count('num_heads'), node.count('kv_num_heads')]
    if (node.optionalOperand(12) ?? node.optionalOperand(13)) throw unsupportedError('a quantized key cache')
    const [query, key, v] = readGroupedOperands(node, heads, keyHeads)
    const past = [node.optionalOperand(3), node.optionalOperand(4)] as const
    const length = lengthAlong(query, 1)
    const first = past[0] ? lengthAlong(past[0], 2) : op.Sub(length, length)
    const turned = chooseRotation(node, query, first, heads)
    const [q, k] = [turned(query, heads), turned(key, keyHeads)]
    const sink = node.optionalOperand(11) ?? (node.number('smooth_softmax', 0) > 0 ? scalar(q.dtype, 0) : null)
    const window = node.number('local_window_size', -1)
    const causal = window <= 0 && !sink
    const hidden = causal ? null : buildWindowBias(q, first, op.Add(first, length), window)
    const attention: Heads = {
      operands: [q, k, v],
      heads,
      keyHeads,
      bias: addOptional(hidden, node.optionalOperand(10)),
      past,
      causal,
      scale: node.number('scale'),
      softcap: node.number('softcap', 0),
    }
    return sink ? buildAttentionWithSink(attention, sink) : buildAttention(attention)
  }),
}

function chooseRotation(
  node: NodeReader,
  query: Value,
  first: Value,
  heads: number,
): (x: Value, count: number) => Value {
  if (!node.number('do_rotary', 0)) return (x) => x
  const caches = [node.operand(7), node.operand(8)] as const
  const positions = node.optionalOperand(9) ?? consecutivePositions(first, lengthAlong(query, 0), lengthAlong(query, 1))
  const width = query.shape?.[2]
  const size = width === undefined ? undefined : divDims(width, mulDims(heads, 1))
  const interleaved = node.number('rotary_interleaved', 0)
  return (x, count) =>
    rotate(x, caches, positions, { heads: count, size: typeof size === 'number' ? size : undefined, interleaved })
}

/** The positions first, first + 1 ... for every row: [batch, length]. */
function consecutivePositions(first: Value, batch: Value, length: Value): Value {
  const steps = op.Range(scalar('int64', 0), op.Squeeze(length, [0]), scalar('int64', 1))
  return op.Expand(op.Add(steps, first), op.Concat([batch, length], { axis: 0 }))
}

/** The length of an axis. Throws `unsupported-operator` if it is symbolic, because heads cannot be split then. */
function requireLength(x: Value, axis: number, what: string): number {
  const length = x.shape?.[axis]
  if (typeof length === 'number') return length
  throw unsupportedError(`${what} of unknown length`)
}

/** Applies rotary embedding to [batch, length, heads * size], with the angles at `positions`. */
function rotate(
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
        ? consecutivePositions(positionIds, lengthAlong(x, 0), lengthAlong(x, flat ? 1 : 2))
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
