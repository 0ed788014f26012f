import { op, type Value } from 'onnx-ire/graph'
import type { Weights } from './weights.js'

/** Creates a randomly initialized weight. */
export type Initializer = (name: string, dims: readonly number[]) => Value

/** Linear layer x W^T + b on a matrix; weight [to, from]. */
export function linear(weights: Weights, name: string, x: Value, from: number, to: number): Value {
  return op.Gemm(x, weights.uniform(`${name}.weight`, [to, from], from), weights.uniform(`${name}.bias`, [to], from), {
    transB: 1,
  })
}

/** Options of `projection`. */
interface ProjectionOptions {
  /** Initializer of the weight. Default: normal with standard deviation 0.02. */
  readonly initialize?: Initializer
  readonly bias?: boolean
}

/** Linear layer x W + b on the last axis of a tensor of any rank; weight [from, to]. */
export function projection(
  weights: Weights,
  name: string,
  x: Value,
  from: number,
  to: number,
  { initialize = (key, dims) => weights.normal(key, dims, 0.02), bias = true }: ProjectionOptions = {},
): Value {
  const y = op.MatMul(x, initialize(`${name}.weight`, [from, to]))
  return bias ? op.Add(y, weights.fill(`${name}.bias`, [to], 0)) : y
}

/** Options of `convolution`. */
interface ConvolutionOptions {
  readonly kernel?: number
  readonly stride?: number
  /** Padding on every side. Default: preserves the size at stride 1. */
  readonly pad?: number
  readonly bias?: boolean
  /**
   * 'he': normal with variance 2 / (kernel^2 to), He et al. 2015 with fan-out. Default 'uniform', as `Weights.uniform`.
   */
  readonly init?: 'uniform' | 'he'
}

/** Convolution with a square kernel; weight [to, from, kernel, kernel]. */
export function convolution(
  weights: Weights,
  name: string,
  x: Value,
  from: number,
  to: number,
  options: ConvolutionOptions = {},
): Value {
  const { kernel = 3, stride = 1, pad = (kernel - 1) / 2, bias = false, init = 'uniform' } = options
  const dims = [to, from, kernel, kernel]
  const fanIn = from * kernel * kernel
  const weight =
    init === 'he'
      ? weights.normal(`${name}.weight`, dims, Math.sqrt(2 / (kernel * kernel * to)))
      : weights.uniform(`${name}.weight`, dims, fanIn)
  const attributes = { strides: [stride, stride], pads: [pad, pad, pad, pad] }
  return bias
    ? op.Conv(x, weight, weights.uniform(`${name}.bias`, [to], fanIn), attributes)
    : op.Conv(x, weight, attributes)
}

/** Batch normalization with running statistics; a trainer with `batchNorm: 'trained'` uses those of the batch. */
export function batchNorm(weights: Weights, name: string, x: Value, channels: number, scale = 1): Value {
  const vector = (key: string, value: number) => weights.fill(`${name}.${key}`, [channels], value)
  const [y] = op.BatchNormalization(
    x,
    vector('weight', scale),
    vector('bias', 0),
    vector('running_mean', 0),
    vector('running_var', 1),
  )
  return y
}

/** Layer normalization over the last axis (Ba et al. 2016). */
export function layerNorm(weights: Weights, name: string, x: Value, width: number, epsilon = 1e-5): Value {
  const [y] = op.LayerNormalization(
    x,
    weights.fill(`${name}.weight`, [width], 1),
    weights.fill(`${name}.bias`, [width], 0),
    { axis: -1, epsilon },
  )
  return y
}

/**
 * RMS normalization over the last axis: x / sqrt(mean(x^2) + epsilon) times a learned scale (Zhang and Sennrich 2019).
 */
export function rmsNorm(weights: Weights, name: string, x: Value, width: number, epsilon = 1e-5): Value {
  return op.RMSNormalization(x, weights.fill(`${name}.weight`, [width], 1), { axis: -1, epsilon })
}

/** Zeroes a share `rate` of the elements in training. In the file the node is in inference mode and passes x on. */
export function dropout(x: Value, rate: number): Value {
  return rate === 0 ? x : op.Dropout(x, rate)[0]
}
