import { addDims, type Dim, divDims, formatShape, mulDims, type Shape, unknownDim } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { type AttributesOf, define, elementType, float, int } from '../define.js'
import { lengthAt, size } from '../flops.js'

const attributes = {
  is_causal: int(0),
  kv_num_heads: int.optional,
  q_num_heads: int.optional,
  qk_matmul_output_mode: int(0),
  scale: float.optional,
  softcap: float(0),
  softmax_precision: elementType.optional,
}

export type AttentionAttributes = AttributesOf<typeof attributes>

/** Shape [batch, heads, sequence, size] of an operand of that shape or [batch, sequence, heads * size]. */
function byHead(x: Shape | undefined, heads: number | undefined): Shape {
  if (!x) return [unknownDim(), heads ?? unknownDim(), unknownDim(), unknownDim()]
  if (x.length === 4) return x
  if (x.length !== 3 || !heads)
    throw new OnnxIreError(
      'invalid-shape',
      `${formatShape(x)} needs the axes [batch, heads, sequence, size], or three and a number of heads`,
    )
  return [x[0]!, heads, x[1]!, divDims(x[2]!, heads)]
}

function attentionTypes(
  q: Value,
  k: Value,
  v: Value,
  pastKey: Value | null,
  { q_num_heads, kv_num_heads }: AttentionAttributes,
): TensorType[] {
  const [batch, heads, length] = byHead(q.shape, q_num_heads)
  const [, keyHeads, newKeys, keySize] = byHead(k.shape, kv_num_heads)
  const [, valueHeads, , valueSize] = byHead(v.shape, kv_num_heads)
  if (typeof heads === 'number' && typeof keyHeads === 'number' && heads % keyHeads !== 0) {
    throw new OnnxIreError('invalid-shape', `${heads} query heads do not share ${keyHeads} key heads evenly`)
  }
  const keys: Dim = pastKey ? (pastKey.shape ? addDims(pastKey.shape[2]!, newKeys!) : unknownDim()) : newKeys!
  const y: Shape | undefined =
    q.shape &&
    (q.shape.length === 3 ? [batch!, length!, mulDims(heads!, valueSize!)] : [batch!, heads!, length!, valueSize!])
  return [
    { dtype: q.dtype, shape: y },
    { dtype: k.dtype, shape: [batch!, keyHeads!, keys, keySize!] },
    { dtype: v.dtype, shape: [batch!, valueHeads!, keys, valueSize!] },
    { dtype: q.dtype, shape: [batch!, heads!, length!, keys] },
  ]
}

/** Two products and a sum for each feature that is rotated: 3 per element. */
function rotaryFlops(x: Value, cos: Value, attributes: { num_heads: number; rotary_embedding_dim: number }): number {
  const { num_heads, rotary_embedding_dim: rotated } = attributes
  const head = x.shape?.length === 3 && num_heads > 0 ? lengthAt(x, -1) / num_heads : lengthAt(x, -1)
  return 3 * size(x) * (rotated === 0 ? 1 : (2 * lengthAt(cos, -1)) / head)
}

export const attention = {
  /** softmax(scale q k^T + mask) v for every head; key and value heads are shared by equal groups of query heads. */
  Attention: define({
    inputs: ['q', 'k', 'v', 'attnMask?', 'pastKey?', 'pastValue?', 'nonpadKvSeqlen?'],
    // onnxruntime requires the present keys and values as outputs if there are past ones.
    outputs: ['y', 'presentKey', 'presentValue', 'qkMatmulOutput?'],
    attributes,
    since: 23,
    later: { 'nonpadKvSeqlen?': 24 },
    vectorWeights: ['attnMask'],
    // q k^T, scale, mask, softmax and the product with v, for every pair of positions, masked ones included
    flops: ([, , , mask], [, key, value, scores], { softcap }) =>
      size(scores!) * (2 * lengthAt(key!, -1) + 1 + (softcap ? 3 : 0) + (mask ? 1 : 0) + 5 + 2 * lengthAt(value!, -1)),
    infer: ({ inputs: [q, k, v, , pastKey], attributes }) => attentionTypes(q, k, v, pastKey, attributes),
  }),
  /** Rotates pairs of features by angles given as cosines and sines, gathered at `positionIds` if present. */
  RotaryEmbedding: define({
    inputs: ['x', 'cosCache', 'sinCache', 'positionIds?'],
    attributes: { interleaved: int(0), num_heads: int(0), rotary_embedding_dim: int(0) },
    since: 23,
    configInputs: ['cosCache', 'sinCache'],
    flops: ([x, cos], _, attributes) => rotaryFlops(x, cos, attributes),
    infer: ({ inputs: [x], attributes: { num_heads } }) => {
      byHead(x.shape, num_heads)
      return x
    },
  }),
}
