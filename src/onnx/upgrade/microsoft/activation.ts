import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { defineRewrite, unsupportedError } from '../rewrite.js'

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
export function applyActivation(x: Value, name: string, parameters: readonly number[]): Value {
  if (name === '') return x
  const apply = Object.hasOwn(functions, name) ? functions[name] : undefined
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
