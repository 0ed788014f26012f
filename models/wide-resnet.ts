import type { Graph } from 'onnx-ire'
import { input, op } from 'onnx-ire/graph'
import { check } from './check.js'
import { batchNorm, convolution, dropout, linear } from './layers.js'
import { Weights } from './weights.js'

/** Sizes of `wideResnet`. */
export interface WideResnetOptions {
  /** Channels of the image. Default 3. */
  readonly channels?: number
  /** Side of the square image. Default 32. */
  readonly size?: number
  /** Number of layers: 6 n + 4 for n blocks in each of three stages. Default 28. */
  readonly depth?: number
  /** Factor on the channels 16, 32 and 64 of the stages. Default 10. */
  readonly widen?: number
  /** Dropout rate between the convolutions of a block, in training. Default 0. */
  readonly dropout?: number
  /** Number of classes. Default 10. */
  readonly classes?: number
  /** Seed of the initial weights. Default 0. */
  readonly seed?: number
}

/**
 * A wide residual network (Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146), with norms and ReLUs before
 * the convolutions: x [N, channels, size, size] to logits [N, classes].
 */
export function wideResnet(options: WideResnetOptions = {}): Graph {
  const { channels = 3, size = 32, depth = 28, widen = 10, dropout: rate = 0, classes = 10, seed = 0 } = options
  check(depth > 4 && (depth - 4) % 6 === 0, 'wide-resnet', `a depth of ${depth} is not 6 n + 4, as 16, 22 and 28 are`)
  const weights = new Weights(seed)
  const x = input('x', 'float32', ['N', channels, size, size])
  let y = convolution(weights, 'conv1', x, channels, 16, { init: 'he' })
  let width = 16
  for (const [i, to] of [16 * widen, 32 * widen, 64 * widen].entries()) {
    for (let j = 0; j < (depth - 4) / 6; j++) {
      const name = `block${i + 1}.${j}`
      const stride = i > 0 && j === 0 ? 2 : 1
      const active = op.Relu(batchNorm(weights, `${name}.bn1`, y, width))
      const first = convolution(weights, `${name}.conv1`, active, width, to, { stride, init: 'he' })
      const between = dropout(op.Relu(batchNorm(weights, `${name}.bn2`, first, to)), rate)
      const added = convolution(weights, `${name}.conv2`, between, to, to, { init: 'he' })
      const past =
        width === to
          ? y
          : convolution(weights, `${name}.shortcut`, active, width, to, { kernel: 1, stride, init: 'he' })
      y = op.Add(added, past)
      width = to
    }
  }
  const pooled = op.Flatten(op.GlobalAveragePool(op.Relu(batchNorm(weights, 'bn1', y, width))))
  return weights.graph('wide-resnet', x, linear(weights, 'fc', pooled, width, classes))
}
