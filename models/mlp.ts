import type { Graph } from 'onnx-ire'
import { input, op } from 'onnx-ire/graph'
import { linear } from './layers.js'
import { Weights } from './weights.js'

/** Sizes of `mlp`. */
export interface MlpOptions {
  /** Number of input features. Default 784, for MNIST. */
  readonly features?: number
  /** Widths of the hidden layers. Default [512, 512]. */
  readonly hidden?: readonly number[]
  /** Number of classes. Default 10. */
  readonly classes?: number
  /** Seed of the initial weights. Default 0. */
  readonly seed?: number
}

/** A multilayer perceptron with ReLU: x [N, features] to logits [N, classes]. */
export function mlp({ features = 784, hidden = [512, 512], classes = 10, seed = 0 }: MlpOptions = {}): Graph {
  const weights = new Weights(seed)
  const x = input('x', 'float32', ['N', features])
  let y = x
  let width = features
  for (const [i, size] of hidden.entries()) {
    y = op.Relu(linear(weights, `hidden${i}`, y, width, size))
    width = size
  }
  const logits = linear(weights, 'head', y, width, classes)
  return {
    name: 'mlp',
    inputs: new Map([['x', x]]),
    parameters: weights.parameters,
    outputs: new Map([['logits', logits]]),
  }
}
