import type { Graph } from 'onnx-ire'
import { input, op, type Value } from 'onnx-ire/graph'
import { convolution } from '../../../dist/models/layers.js'
import { Weights } from '../../../dist/models/weights.js'
import { convolveNormed } from './layers.js'

/** U-Net of three levels with batch normalization (Ronneberger et al. 2015): logits [N, classes, size, size]. */
export function unet({ size = 128, width = 32, classes = 2, seed = 0 } = {}): Graph {
  const weights = new Weights(seed)
  const x = input('x', 'float32', ['N', 3, size, size])
  const twice = (name: string, y: Value, from: number, to: number) => {
    const inner = convolveNormed(weights, [`${name}.0`, `${name}.1`], y, from, to)
    return convolveNormed(weights, [`${name}.3`, `${name}.4`], inner, to, to)
  }
  const pooled = (y: Value) => op.MaxPool(y, { kernel_shape: [2, 2], strides: [2, 2] })[0]
  const enlarged = (name: string, y: Value, from: number, to: number) => {
    const weight = weights.uniform(`${name}.weight`, [from, to, 2, 2], from)
    return op.ConvTranspose(y, weight, weights.fill(`${name}.bias`, [to], 0), { strides: [2, 2] })
  }
  const a = twice('down1', x, 3, width)
  const b = twice('down2', pooled(a), width, 2 * width)
  const c = twice('middle', pooled(b), 2 * width, 4 * width)
  const d = op.Concat([enlarged('up2', c, 4 * width, 2 * width), b], { axis: 1 })
  const e = twice('merge2', d, 4 * width, 2 * width)
  const f = op.Concat([enlarged('up1', e, 2 * width, width), a], { axis: 1 })
  const g = twice('merge1', f, 2 * width, width)
  return weights.graph('unet', x, convolution(weights, 'out', g, width, classes, { kernel: 1, bias: true }))
}
