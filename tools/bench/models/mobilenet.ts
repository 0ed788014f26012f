import type { Graph } from 'onnx-ire'
import { input, op, type Value } from 'onnx-ire/graph'
import { batchNorm, linear } from '../../../dist/models/layers.js'
import { Weights } from '../../../dist/models/weights.js'
import { type ConvolveOptions, convolve } from './layers.js'

/** Expansion, channels, number of blocks and stride of the first block. */
const stages = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
] as const

/** MobileNetV2 (Sandler et al. 2018) without dropout; parameters are named as torchvision names them. */
export function mobilenet({ size = 224, classes = 1000, seed = 0 } = {}): Graph {
  const weights = new Weights(seed)
  const x = input('x', 'float32', ['N', 3, size, size])
  const normed = (name: readonly [string, string], y: Value, from: number, to: number, options?: ConvolveOptions) =>
    batchNorm(weights, name[1], convolve(weights, name[0], y, from, to, options), to)
  const active = (name: string, y: Value, from: number, to: number, options?: ConvolveOptions) =>
    op.Clip(normed([`${name}.0`, `${name}.1`], y, from, to, options), 0, 6)

  let y = active('features.0', x, 3, 32, { stride: 2 })
  let width = 32
  let index = 1
  for (const [expansion, to, count, first] of stages)
    for (let j = 0; j < count; j++, index++) {
      const name = `features.${index}.conv`
      const stride = j === 0 ? first : 1
      const inner = width * expansion
      let part = 0
      let z = y
      if (expansion > 1) z = active(`${name}.${part++}`, z, width, inner, { kernel: [1, 1] })
      z = active(`${name}.${part++}`, z, inner, inner, { stride, group: inner })
      z = normed([`${name}.${part}`, `${name}.${part + 1}`], z, inner, to, { kernel: [1, 1] })
      y = stride === 1 && width === to ? op.Add(y, z) : z
      width = to
    }
  y = active(`features.${index}`, y, width, 1280, { kernel: [1, 1] })
  const logits = linear(weights, 'classifier.1', op.Flatten(op.GlobalAveragePool(y)), 1280, classes)
  return weights.graph('mobilenet', x, logits)
}
