import { dtypes } from '../../../ir/dtype.js'
import { int64s, scalar } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { defineRewrite, type NodeReader } from '../rewrite.js'

/** 1 / sqrt(mean(x²) + epsilon) over the axes from `axis` on. */
function inverseRms(x: Value, axis: number, epsilon: number): Value {
  const rank = x.shape?.length
  const first = axis < 0 || rank === undefined ? axis : axis - rank
  const axes = Array.from({ length: Math.max(1, -first) }, (_, i) => i + Math.min(first, -1))
  return op.Reciprocal(op.Sqrt(op.Add(op.ReduceMean(op.Mul(x, x), axes, { keepdims: 1 }), epsilon)))
}

/** The sum of a skip connection, which is then normalized. */
const addSkip = (node: NodeReader, bias: number): Value =>
  [node.optionalOperand(bias)].reduce<Value>(
    (sum, operand) => (operand ? op.Add(sum, operand) : sum),
    op.Add(node.operand(0), node.operand(1)),
  )

const readEpsilon = (node: NodeReader) => node.number('epsilon', Math.fround(1e-12))

/** Root-mean-square normalization, with the name that onnxruntime used before ai.onnx had the operator. */
export const simplifiedLayerNormalization = defineRewrite(['axis', 'epsilon', 'stash_type'], (node) => {
  const [x, scale] = [node.operand(0), node.operand(1)]
  const [axis, epsilon] = [node.number('axis', -1), node.number('epsilon', Math.fround(1e-5))]
  const y = op.RMSNormalization(x, scale, { axis, epsilon })
  return node.outputCount > 1 ? [y, inverseRms(x, axis, epsilon)] : [y]
})

export const normalizationRewrites = {
  SimplifiedLayerNormalization: simplifiedLayerNormalization,
  SkipLayerNormalization: defineRewrite(['epsilon'], (node) => {
    const sum = addSkip(node, 4)
    const [y, mean, invStdDev] = op.LayerNormalization(sum, node.operand(2), node.optionalOperand(3), {
      epsilon: readEpsilon(node),
    })
    return [y, mean, invStdDev, sum]
  }),
  SkipSimplifiedLayerNormalization: defineRewrite(['epsilon'], (node) => {
    const sum = addSkip(node, 3)
    const epsilon = readEpsilon(node)
    const invStdDev = node.outputCount > 2 ? inverseRms(sum, -1, epsilon) : null
    return [op.RMSNormalization(sum, node.operand(2), { epsilon }), null, invStdDev, sum]
  }),
  /** Layer normalization of the sum of word, position and segment embeddings. */
  EmbedLayerNormalization: defineRewrite(['epsilon', 'mask_index_type'], (node) => {
    const [ids, words, positions] = [node.operand(0), node.operand(2), node.operand(3)]
    const [segmentIds, segments] = [node.optionalOperand(1), node.optionalOperand(4)]
    const [mask, positionIds] = [node.optionalOperand(7), node.optionalOperand(8)]
    const length = op.Shape(ids, { start: 1, end: 2 })
    const placed = positionIds ? op.Gather(positions, positionIds) : op.Slice(positions, [0], length, [0])
    const located = op.Add(op.Gather(words, ids), placed)
    const sum = segmentIds && segments ? op.Add(located, op.Gather(segments, segmentIds)) : located
    const [y] = op.LayerNormalization(sum, node.operand(5), node.operand(6), { epsilon: readEpsilon(node) })
    return [y, countWords(ids, mask), sum]
  }),
}

/** The number of words of each row that the mask selects: [batch]. */
const countWords = (ids: Value, mask: Value | null): Value =>
  mask
    ? op.ReduceSum(op.Cast(op.Equal(mask, 1), { to: dtypes.int32.onnx }), int64s([1]), { keepdims: 0 })
    : op.Expand(scalar('int32', 0), op.Shape(ids, { start: 0, end: 1 }))
