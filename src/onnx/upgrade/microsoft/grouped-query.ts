import { scalar } from '../../../ir/leaf.js'
import { divDims, mulDims } from '../../../ir/shape.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { form, type Reading, unsupported } from '../form.js'
import { attended, type Heads, plus } from './attention.js'
import { axisLength, consecutive, knownLength, rotated } from './rotary.js'
import { attendedWithSink } from './sink.js'

type Operands = [q: Value, k: Value, v: Value]

/** Queries, keys and values, or the three one after the other in one operand. */
function operandsOf(node: Reading, heads: number, keyHeads: number): Operands {
  const [query, key, value] = [node.operand(0), node.optional(1), node.optional(2)]
  if (key && value) return [query, key, value]
  const size = divDims(knownLength(query, 2, 'packed queries, keys and values'), heads + 2 * keyHeads) as number
  return op.Split(
    query,
    [heads, keyHeads, keyHeads].map((count) => count * size),
    { axis: 2 },
  ) as readonly Value[] as Operands
}

/** Bias that hides keys after a query and those `window` or more before it: [length, total]. */
function windowBias(q: Value, first: Value, total: Value, window: number): Value {
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
 * All past keys count, so that `seqlens_k` says nothing new: rows may be padded at their end, where nothing is
 * looked at, and not within the past.
 */
export const groupedQueryForms = {
  GroupQueryAttention: form(attributes, (node) => {
    const [heads, keyHeads] = [node.count('num_heads'), node.count('kv_num_heads')]
    if (node.optional(12) ?? node.optional(13)) throw unsupported('a quantized key cache')
    const [query, key, v] = operandsOf(node, heads, keyHeads)
    const past = [node.optional(3), node.optional(4)] as const
    const length = axisLength(query, 1)
    const first = past[0] ? axisLength(past[0], 2) : op.Sub(length, length)
    const turned = rotation(node, query, first, heads)
    const [q, k] = [turned(query, heads), turned(key, keyHeads)]
    const sink = node.optional(11) ?? (node.number('smooth_softmax', 0) > 0 ? scalar(q.dtype, 0) : null)
    const window = node.number('local_window_size', -1)
    const causal = window <= 0 && !sink
    const hidden = causal ? null : windowBias(q, first, op.Add(first, length), window)
    const attention: Heads = {
      operands: [q, k, v],
      heads,
      keyHeads,
      bias: plus(hidden, node.optional(10)),
      past,
      causal,
      scale: node.number('scale'),
      softcap: node.number('softcap', 0),
    }
    return sink ? attendedWithSink(attention, sink) : attended(attention)
  }),
}

function rotation(node: Reading, query: Value, first: Value, heads: number): (x: Value, count: number) => Value {
  if (!node.number('do_rotary', 0)) return (x) => x
  const caches = [node.operand(7), node.operand(8)] as const
  const positions = node.optional(9) ?? consecutive(first, axisLength(query, 0), axisLength(query, 1))
  const width = query.shape?.[2]
  const size = width === undefined ? undefined : divDims(width, mulDims(heads, 1))
  const interleaved = node.number('rotary_interleaved', 0)
  return (x, count) =>
    rotated(x, caches, positions, { heads: count, size: typeof size === 'number' ? size : undefined, interleaved })
}
