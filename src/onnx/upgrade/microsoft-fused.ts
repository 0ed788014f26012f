import { dtypes } from '../../ir/dtype.js'
import { int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'
import { getOwn } from '../../util/record.js'
import { defineRewrite, type NodeReader, unsupportedError } from './rewrite.js'

const functions: Readonly<Record<string, (x: Value, parameters: readonly number[]) => Value>> = {
  Relu: (x) => op.Relu(x),
  Tanh: (x) => op.Tanh(x),
  Sigmoid: (x) => op.Sigmoid(x),
  Softplus: (x) => op.Softplus(x),
  Softsign: (x) => op.Softsign(x),
  HardSwish: (x) => op.HardSwish(x),
  Elu: (x, [alpha = 1]) => op.Elu(x, { alpha }),
  LeakyRelu: (x, [alpha = 0.01]) => op.LeakyRelu(x, { alpha }),
  ThresholdedRelu: (x, [alpha = 1]) => op.ThresholdedRelu(x, { alpha }),
  HardSigmoid: (x, [alpha = 0.2, beta = 0.5]) => op.HardSigmoid(x, { alpha, beta }),
  Clip: (x, [min, max]) => op.Clip(x, min ?? null, max ?? null),
}

/** Applies an activation that onnxruntime's optimizer has fused into the preceding operator; '' is no activation. */
function applyActivation(x: Value, name: string, parameters: readonly number[]): Value {
  if (name === '') return x
  const apply = getOwn(functions, name)
  if (!apply) throw unsupportedError(`its activation '${name}'`)
  return apply(x, parameters)
}

export const activationRewrites = {
  Gelu: defineRewrite([], (node) => [op.Gelu(node.operand(0))]),
  BiasGelu: defineRewrite([], (node) => [op.Gelu(op.Add(node.operand(0), node.operand(1)))]),
  FastGelu: defineRewrite([], (node) => {
    const [x, bias] = [node.operand(0), node.optionalOperand(1)]
    return [op.Gelu(bias ? op.Add(x, bias) : x, { approximate: 'tanh' })]
  }),
  // x sigmoid(alpha x)
  QuickGelu: defineRewrite(['alpha'], (node) => {
    const x = node.operand(0)
    const alpha = node.number('alpha', Math.fround(1.702))
    return [op.Mul(x, op.Sigmoid(alpha === 1 ? x : op.Mul(x, alpha)))]
  }),
}

/** The permutation that FusedMatMul applies to the axes of an operand; undefined for the identity. */
function permutation(rank: number, transpose: boolean, transposeBatch: boolean): number[] | undefined {
  if (rank < 2 || !(transpose || transposeBatch)) return undefined
  const axes = Array.from({ length: rank }, (_, axis) => axis)
  // `transposeBatch` moves the first axis after the other batch axes: [b, ..., m, k] is stored as [m, b, ..., k].
  const [rows, columns] = [transposeBatch ? 0 : rank - 2, rank - 1]
  const batch = transposeBatch ? axes.slice(1, -1) : axes.slice(0, -2)
  return transpose ? [...batch, columns, rows] : [...batch, rows, columns]
}

function permute(x: Value, transpose: boolean, transposeBatch: boolean): Value {
  if (!transpose && !transposeBatch) return x
  if (x.shape) {
    const perm = permutation(x.shape.length, transpose, transposeBatch)
    return perm ? op.Transpose(x, { perm }) : x
  }
  if (transposeBatch) throw unsupportedError('a transposed batch of an operand of unknown rank')
  return op.Einsum([x], { equation: '...ij->...ji' })
}

const matMulAttributes = ['alpha', 'transA', 'transB', 'transBatchA', 'transBatchB']

function buildMatMul(node: NodeReader): Value {
  const is = (name: string) => node.number(name, 0) !== 0
  const product = op.MatMul(
    permute(node.operand(0), is('transA'), is('transBatchA')),
    permute(node.operand(1), is('transB'), is('transBatchB')),
  )
  const alpha = node.number('alpha', 1)
  return alpha === 1 ? product : op.Mul(product, alpha)
}

const gemmAttributes = ['alpha', 'beta', 'transA', 'transB']
const windowAttributes = ['auto_pad', 'dilations', 'group', 'kernel_shape', 'pads', 'strides']
const activationAttributes = ['activation', 'activation_alpha', 'activation_beta', 'activation_gamma']

function readActivationParameters(node: NodeReader): number[] {
  return ['activation_alpha', 'activation_beta', 'activation_gamma']
    .map((name) => node.number(name))
    .filter((value) => value !== undefined)
}

export const linalgRewrites = {
  FusedMatMul: defineRewrite(matMulAttributes, (node) => [buildMatMul(node)]),
  /** The former name of FusedMatMul. */
  TransposeMatMul: defineRewrite(matMulAttributes, (node) => [buildMatMul(node)]),
  FusedGemm: defineRewrite([...gemmAttributes, ...activationAttributes], (node) => {
    const product = op.Gemm(
      node.operand(0),
      node.operand(1),
      node.optionalOperand(2),
      node.pickAttributes(...gemmAttributes),
    )
    return [applyActivation(product, node.text('activation'), readActivationParameters(node))]
  }),
  /** activation(Conv(x, weight, bias) + added) */
  FusedConv: defineRewrite([...windowAttributes, 'activation', 'activation_params'], (node) => {
    const [x, weight, bias, added] = [
      node.operand(0),
      node.operand(1),
      node.optionalOperand(2),
      node.optionalOperand(3),
    ]
    const y = op.Conv(x, weight, bias, node.pickAttributes(...windowAttributes))
    return [
      applyActivation(added ? op.Add(y, added) : y, node.text('activation'), node.numbers('activation_params') ?? []),
    ]
  }),
}

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
