import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'
import { OnnxIreError } from '../../../util/errors.js'

export type Activation = (x: Value) => Value

interface Form {
  /** Defaults of what it takes from activation_alpha and activation_beta. */
  readonly alpha?: number
  readonly beta?: number
  readonly build: (x: Value, alpha: number, beta: number) => Value
}

/** By name in lower case; the defaults are those of the operators of these names. */
const forms: Readonly<Record<string, Form>> = {
  relu: { build: (x) => op.Relu(x) },
  tanh: { build: (x) => op.Tanh(x) },
  sigmoid: { build: (x) => op.Sigmoid(x) },
  softsign: { build: (x) => op.Softsign(x) },
  softplus: { build: (x) => op.Softplus(x) },
  affine: { alpha: 1, beta: 0, build: (x, alpha, beta) => op.Add(op.Mul(x, alpha), beta) },
  leakyrelu: { alpha: 0.01, build: (x, alpha) => op.LeakyRelu(x, { alpha }) },
  thresholdedrelu: { alpha: 1, build: (x, alpha) => op.ThresholdedRelu(x, { alpha }) },
  scaledtanh: { alpha: 1, beta: 1, build: (x, alpha, beta) => op.Mul(op.Tanh(op.Mul(x, beta)), alpha) },
  hardsigmoid: { alpha: 0.2, beta: 0.5, build: (x, alpha, beta) => op.HardSigmoid(x, { alpha, beta }) },
  elu: { alpha: 1, build: (x, alpha) => op.Elu(x, { alpha }) },
}

interface Given {
  readonly activations?: readonly string[] | undefined
  readonly activation_alpha?: readonly number[] | undefined
  readonly activation_beta?: readonly number[] | undefined
  readonly clip?: number | undefined
}

/**
 * The activation functions of every direction in turn. Those that have an alpha or beta take the next one that is given.
 * What goes into one of the first two of a direction, those of gates, is clipped first; the third, of LSTM's cell, sees all
 * (as in onnxruntime; the operators' pages leave it open).
 */
export function activationsOf(given: Given, defaults: readonly string[], directions: number): Activation[] {
  const names = given.activations ?? Array.from({ length: directions }, () => defaults).flat()
  if (names.length !== defaults.length * directions)
    throw new OnnxIreError('invalid-model', `needs ${defaults.length * directions} activations, not ${names.length}`)
  const [alphas, betas] = [[...(given.activation_alpha ?? [])], [...(given.activation_beta ?? [])]]
  return names.map((name, index) => {
    const key = name.toLowerCase()
    const form = Object.hasOwn(forms, key) ? forms[key] : undefined
    if (!form) throw new OnnxIreError('invalid-model', `'${name}' is no activation of a recurrent operator`)
    const alpha = form.alpha === undefined ? 0 : (alphas.shift() ?? form.alpha)
    const beta = form.beta === undefined ? 0 : (betas.shift() ?? form.beta)
    const clip = index % defaults.length < 2 ? given.clip : undefined
    return (x) => form.build(clip ? op.Clip(x, -clip, clip) : x, alpha, beta)
  })
}
