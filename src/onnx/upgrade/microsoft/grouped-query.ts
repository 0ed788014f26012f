import { int64s, scalar } from '../../../ir/leaf.js'
import { divDims, mulDims } from '../../../ir/shape.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { defineRewrite, type NodeReader, unsupportedError } from '../rewrite.js'
import { addOptional, buildAttention, type Heads, splitHeads } from './attention.js'
import { axisLength, consecutivePositions, requireLength, rotate } from './rotary.js'

/** Appends a key or value of zeros for every head. */
const appendZero = (x: Value): Value =>
  op.Concat(
    [
      x,
      op.Expand(scalar(x.dtype, 0), op.Concat([op.Shape(x, { end: 2 }), int64s([1]), axisLength(x, 3)], { axis: 0 })),
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
function readOperands(node: NodeReader, heads: number, keyHeads: number): Operands {
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
  const positions = op.Unsqueeze(op.Add(range(axisLength(q, 1)), first), [1])
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
    const [query, key, v] = readOperands(node, heads, keyHeads)
    const past = [node.optionalOperand(3), node.optionalOperand(4)] as const
    const length = axisLength(query, 1)
    const first = past[0] ? axisLength(past[0], 2) : op.Sub(length, length)
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
  const positions = node.optionalOperand(9) ?? consecutivePositions(first, axisLength(query, 0), axisLength(query, 1))
  const width = query.shape?.[2]
  const size = width === undefined ? undefined : divDims(width, mulDims(heads, 1))
  const interleaved = node.number('rotary_interleaved', 0)
  return (x, count) =>
    rotate(x, caches, positions, { heads: count, size: typeof size === 'number' ? size : undefined, interleaved })
}
