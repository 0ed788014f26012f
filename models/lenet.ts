import type { Graph } from 'onnx-ire'
import { input, op, type Value } from 'onnx-ire/graph'
import { Weights } from './weights.js'

/** Sizes of `lenet`. */
export interface LenetOptions {
  /** Channels of the image. Default 1. */
  readonly channels?: number
  /** Number of classes. Default 10. */
  readonly classes?: number
  /** Seed of the initial weights. Default 0. */
  readonly seed?: number
}

/**
 * LeNet-5 (LeCun et al. 1998, Gradient-based learning applied to document recognition), except that every map of the
 * second convolution reads all maps of the first, and a linear output layer replaces radial basis functions: x [N,
 * channels, 28, 28] to logits [N, classes].
 */
export function lenet({ channels = 1, classes = 10, seed = 0 }: LenetOptions = {}): Graph {
  const weights = new Weights(seed)
  const x = input('x', 'float32', ['N', channels, 28, 28])
  const convolved = (name: string, of: Value, from: number, to: number, pad: number) => {
    const [weight, bias] = weightAndBias(weights, name, [to, from, 5, 5], from * 25)
    return op.Tanh(op.Conv(of, weight, bias, { pads: [pad, pad, pad, pad] }))
  }
  const halved = (of: Value) => op.AveragePool(of, { kernel_shape: [2, 2], strides: [2, 2] })
  const dense = (name: string, of: Value, from: number, to: number) => {
    const [weight, bias] = weightAndBias(weights, name, [to, from], from)
    return op.Gemm(of, weight, bias, { transB: 1 })
  }
  const maps = halved(convolved('conv2', halved(convolved('conv1', x, channels, 6, 2)), 6, 16, 0))
  const hidden = op.Tanh(dense('hidden1', op.Flatten(maps), 16 * 25, 120))
  const logits = dense('head', op.Tanh(dense('hidden2', hidden, 120, 84)), 84, classes)
  return weights.graph('lenet', x, logits)
}

/** Weight and bias, uniform in +-2.4 / fanIn as in appendix A of the paper. */
function weightAndBias(weights: Weights, name: string, dims: readonly number[], fanIn: number): [Value, Value] {
  const bound = 2.4 / fanIn
  return [weights.within(`${name}.weight`, dims, bound), weights.within(`${name}.bias`, [dims[0]!], bound)]
}
