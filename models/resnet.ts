import type { Graph } from 'onnx-ire'
import { input, op, type Value } from 'onnx-ire/graph'
import { check } from './check.js'
import { batchNorm, convolution, linear } from './layers.js'
import { Weights } from './weights.js'

/** Options of `resnet`. */
export interface ResnetOptions {
  /** Channels of the image. Default 3. */
  readonly channels?: number
  /** Side of the square image. Default 224. */
  readonly size?: number
  /** 'imagenet': a 7 x 7 convolution of stride 2 and a max pool; 'cifar': a 3 x 3 convolution. Default 'imagenet'. */
  readonly stem?: 'imagenet' | 'cifar'
  /**
   * 'basic': two 3 x 3 convolutions; 'bottleneck': 1 x 1, 3 x 3, and 1 x 1 to four times the channels. Default 'basic'.
   */
  readonly block?: 'basic' | 'bottleneck'
  /** Blocks of each stage. Default ResNet-18's [2, 2, 2, 2]. */
  readonly depths?: readonly number[]
  /** Channels of each stage; every stage except the first halves the size. Default [64, 128, 256, 512]. */
  readonly stages?: readonly number[]
  /**
   * Shortcut of blocks that change the shape: a 1 x 1 convolution (B in the paper), or every second pixel and zero
   * channels (A).
   * Default 'projection'.
   */
  readonly shortcut?: 'projection' | 'padding'
  /**
   * Initializes the scale of the last norm of every block with 0, so that blocks start as identities (Goyal et al.
   * 2017).
   * Default false.
   */
  readonly zeroScale?: boolean
  /** Number of classes. Default 1000. */
  readonly classes?: number
  /** Seed of the initial weights. Default 0. */
  readonly seed?: number
}

/**
 * A residual network (He et al. 2016, https://arxiv.org/abs/1512.03385; bottlenecks stride in their 3 x 3 convolution):
 * x [N, channels, size, size] to logits [N, classes]. Parameters are named as torchvision names them.
 */
export function resnet(options: ResnetOptions = {}): Graph {
  const { channels = 3, size = 224, stem = 'imagenet', depths = [2, 2, 2, 2], classes = 1000, seed = 0 } = options
  const { block = 'basic', stages = [64, 128, 256, 512], shortcut = 'projection', zeroScale = false } = options
  check(
    depths.length === stages.length,
    'resnet',
    `depths has ${depths.length} numbers and stages ${stages.length}: give each stage one of both`,
  )
  const weights = new Weights(seed)
  const x = input('x', 'float32', ['N', channels, size, size])
  const add = { basic, bottleneck }[block]
  let width = stages[0]!
  let y =
    stem === 'cifar'
      ? normed(weights, '', 1, x, channels, width)
      : normed(weights, '', 1, x, channels, width, { kernel: 7, stride: 2 })
  y = op.Relu(y)
  if (stem === 'imagenet') [y] = op.MaxPool(y, { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] })
  for (const [i, inner] of stages.entries()) {
    for (let j = 0; j < depths[i]!; j++) {
      const name = `layer${i + 1}.${j}.`
      const to = block === 'basic' ? inner : 4 * inner
      const shape: Change = { from: width, inner, to, stride: i > 0 && j === 0 ? 2 : 1 }
      const past = shape.stride === 1 && width === to ? y : shortcuts[shortcut](weights, name, y, shape)
      y = op.Relu(op.Add(add(weights, name, y, shape, zeroScale ? 0 : 1), past))
      width = to
    }
  }
  const logits = linear(weights, 'fc', op.Flatten(op.GlobalAveragePool(y)), width, classes)
  return weights.graph('resnet', x, logits)
}

interface Change {
  readonly from: number
  readonly inner: number
  readonly to: number
  readonly stride: number
}

function basic(weights: Weights, name: string, x: Value, { from, to, stride }: Change, scale: number): Value {
  const y = op.Relu(normed(weights, name, 1, x, from, to, { stride }))
  return normed(weights, name, 2, y, to, to, { scale })
}

function bottleneck(weights: Weights, name: string, x: Value, shape: Change, scale: number): Value {
  const { from, inner, to, stride } = shape
  const reduced = op.Relu(normed(weights, name, 1, x, from, inner, { kernel: 1 }))
  const y = op.Relu(normed(weights, name, 2, reduced, inner, inner, { stride }))
  return normed(weights, name, 3, y, inner, to, { kernel: 1, scale })
}

const shortcuts = {
  projection(weights: Weights, name: string, x: Value, { from, to, stride }: Change): Value {
    const y = convolution(weights, `${name}downsample.0`, x, from, to, { kernel: 1, stride, init: 'he' })
    return batchNorm(weights, `${name}downsample.1`, y, to)
  },
  padding(_: Weights, __: string, x: Value, { from, to, stride }: Change): Value {
    const all = Number.MAX_SAFE_INTEGER
    const y = stride === 1 ? x : op.Slice(x, [0, 0], [all, all], [2, 3], [stride, stride])
    return op.Pad(y, [0, 0, 0, 0, 0, to - from, 0, 0])
  },
}

/** Convolution and norm with index `i` of a block. */
function normed(
  weights: Weights,
  name: string,
  i: number,
  x: Value,
  from: number,
  to: number,
  { kernel = 3, stride = 1, scale = 1 } = {},
): Value {
  const y = convolution(weights, `${name}conv${i}`, x, from, to, { kernel, stride, init: 'he' })
  return batchNorm(weights, `${name}bn${i}`, y, to, scale)
}
