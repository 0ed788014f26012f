import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { defineRewrite, type NodeReader, unsupportedError } from '../rewrite.js'
import { applyActivation } from './activation.js'

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
