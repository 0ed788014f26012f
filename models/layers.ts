import { op, type Value } from 'onnx-ire'
import type { Weights } from './weights.js'

/** x W^T + b over the last axis of a matrix; weight [to, from]. */
export function linear(weights: Weights, name: string, x: Value, from: number, to: number): Value {
  return op.Gemm(x, weights.uniform(`${name}.weight`, [to, from], from), weights.uniform(`${name}.bias`, [to], from), {
    transB: 1,
  })
}

/** x W + b over the last axis of a tensor of any rank; weight [from, to]. */
export function projection(
  weights: Weights,
  name: string,
  x: Value,
  from: number,
  to: number,
  deviation = 0.02,
): Value {
  return op.Add(
    op.MatMul(x, weights.normal(`${name}.weight`, [from, to], deviation)),
    weights.fill(`${name}.bias`, [to], 0),
  )
}

export interface ConvolutionOptions {
  readonly kernel?: number
  readonly stride?: number
  readonly bias?: boolean
}

/** A square convolution that keeps the size at stride 1; weight [to, from, kernel, kernel]. */
export function convolution(
  weights: Weights,
  name: string,
  x: Value,
  from: number,
  to: number,
  options: ConvolutionOptions = {},
): Value {
  const { kernel = 3, stride = 1, bias = false } = options
  const pad = (kernel - 1) / 2
  const weight = weights.uniform(`${name}.weight`, [to, from, kernel, kernel], from * kernel * kernel)
  const attributes = { strides: [stride, stride], pads: [pad, pad, pad, pad] }
  return bias
    ? op.Conv(x, weight, weights.uniform(`${name}.bias`, [to], from * kernel * kernel), attributes)
    : op.Conv(x, weight, attributes)
}

/** Batch normalisation by running statistics; a trainer with `batchNorm: 'trained'` normalises by the batch. */
export function batchNorm(weights: Weights, name: string, x: Value, channels: number): Value {
  const vector = (key: string, value: number) => weights.fill(`${name}.${key}`, [channels], value)
  const [y] = op.BatchNormalization(
    x,
    vector('weight', 1),
    vector('bias', 0),
    vector('running_mean', 0),
    vector('running_var', 1),
  )
  return y
}

export function layerNorm(weights: Weights, name: string, x: Value, width: number): Value {
  const [y] = op.LayerNormalization(
    x,
    weights.fill(`${name}.weight`, [width], 1),
    weights.fill(`${name}.bias`, [width], 0),
    { axis: -1 },
  )
  return y
}
