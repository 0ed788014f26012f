import { op, type Value } from 'onnx-ire/graph'
import { batchNorm } from '../../../dist/models/layers.js'
import type { Weights } from '../../../dist/models/weights.js'

/** Options of `convolve`. */
export interface ConvolveOptions {
  /** Lengths of the kernel; default 3 x 3. */
  readonly kernel?: readonly number[]
  readonly stride?: number
  readonly group?: number
}

/** Convolution without bias of any number of spatial axes, padded by half its kernel; named as in PyTorch. */
export function convolve(
  weights: Weights,
  name: string,
  x: Value,
  from: number,
  to: number,
  { kernel = [3, 3], stride = 1, group = 1 }: ConvolveOptions = {},
): Value {
  const fanIn = kernel.reduce((a, b) => a * b, from / group)
  const weight = weights.normal(`${name}.weight`, [to, from / group, ...kernel], Math.sqrt(2 / fanIn))
  const pads = kernel.map((length) => (length - 1) / 2)
  return op.Conv(x, weight, { strides: kernel.map(() => stride), pads: [...pads, ...pads], group })
}

/** Convolution, batch normalization and ReLU. */
export const convolveNormed = (
  weights: Weights,
  [convolution, norm]: readonly [string, string],
  x: Value,
  from: number,
  to: number,
  options?: ConvolveOptions,
): Value => op.Relu(batchNorm(weights, norm, convolve(weights, convolution, x, from, to, options), to))
