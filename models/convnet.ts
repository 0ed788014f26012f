import type { Graph } from 'onnx-ire'
import { input, op } from 'onnx-ire/graph'
import { batchNorm, convolution, linear } from './layers.js'
import { Weights } from './weights.js'

/** Sizes of `convnet`. */
export interface ConvnetOptions {
  /** Channels of the image. Default 3. */
  readonly channels?: number
  /** Channels of each stage; every stage except the first halves the size. Default [16, 32, 64]. */
  readonly stages?: readonly number[]
  /** Number of classes. Default 10. */
  readonly classes?: number
  /** Seed of the initial weights. Default 0. */
  readonly seed?: number
}

/**
 * Plain convolutional network: Conv-BatchNorm-ReLU stages, global average pool, linear head; x [N, channels, H, W] to
 * logits [N, classes].
 */
export function convnet({ channels = 3, stages = [16, 32, 64], classes = 10, seed = 0 }: ConvnetOptions = {}): Graph {
  const weights = new Weights(seed)
  const x = input('x', 'float32', ['N', channels, 'H', 'W'])
  let y = x
  let width = channels
  for (const [i, size] of stages.entries()) {
    const convolved = convolution(weights, `stage${i}.conv`, y, width, size, { stride: i === 0 ? 1 : 2 })
    y = op.Relu(batchNorm(weights, `stage${i}.norm`, convolved, size))
    width = size
  }
  const pooled = op.Flatten(op.GlobalAveragePool(y))
  const logits = linear(weights, 'head', pooled, width, classes)
  return {
    name: 'convnet',
    inputs: new Map([['x', x]]),
    parameters: weights.parameters,
    outputs: new Map([['logits', logits]]),
  }
}
