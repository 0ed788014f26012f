import type { Graph } from 'onnx-ire'
import { input, op } from 'onnx-ire/graph'
import { batchNorm, linear } from '../../../dist/models/layers.js'
import { Weights } from '../../../dist/models/weights.js'
import { convolve, convolveNormed } from './layers.js'

const growth = 32

/** DenseNet-121 (Huang et al. 2017); parameters are named as torchvision names them. */
export function densenet({ size = 224, classes = 1000, seed = 0 } = {}): Graph {
  const weights = new Weights(seed)
  const x = input('x', 'float32', ['N', 3, size, size])
  const stem = convolveNormed(weights, ['features.conv0', 'features.norm0'], x, 3, 64, { kernel: [7, 7], stride: 2 })
  let [y] = op.MaxPool(stem, { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] })
  let width = 64
  for (const [i, count] of [6, 12, 24, 16].entries()) {
    if (i > 0) {
      const name = `features.transition${i}`
      const active = op.Relu(batchNorm(weights, `${name}.norm`, y, width))
      const halved = convolve(weights, `${name}.conv`, active, width, width / 2, { kernel: [1, 1] })
      y = op.AveragePool(halved, { kernel_shape: [2, 2], strides: [2, 2] })
      width /= 2
    }
    for (let j = 1; j <= count; j++) {
      const name = `features.denseblock${i + 1}.denselayer${j}`
      const active = op.Relu(batchNorm(weights, `${name}.norm1`, y, width))
      const inner = convolveNormed(weights, [`${name}.conv1`, `${name}.norm2`], active, width, 4 * growth, {
        kernel: [1, 1],
      })
      y = op.Concat([y, convolve(weights, `${name}.conv2`, inner, 4 * growth, growth)], { axis: 1 })
      width += growth
    }
  }
  y = op.Relu(batchNorm(weights, 'features.norm5', y, width))
  const logits = linear(weights, 'classifier', op.Flatten(op.GlobalAveragePool(y)), width, classes)
  return weights.graph('densenet', x, logits)
}
