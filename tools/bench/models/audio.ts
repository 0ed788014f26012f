import type { Graph } from 'onnx-ire'
import { input, op } from 'onnx-ire/graph'
import { linear } from '../../../dist/models/layers.js'
import { Weights } from '../../../dist/models/weights.js'
import { convolveNormed } from './layers.js'

/** Channels and stride of every layer. */
const layers = [
  [64, 4],
  [128, 4],
  [256, 2],
  [256, 2],
] as const

/** Strided 1-D convolutions with kernels of 9 over a waveform [N, 1, length], averaged over time. */
export function audio({ length = 8000, classes = 35, seed = 0 } = {}): Graph {
  const weights = new Weights(seed)
  const x = input('x', 'float32', ['N', 1, length])
  let y = x
  let width = 1
  for (const [i, [to, stride]] of layers.entries()) {
    y = convolveNormed(weights, [`conv${i}`, `bn${i}`], y, width, to, { kernel: [9], stride })
    width = to
  }
  const logits = linear(weights, 'head', op.Flatten(op.GlobalAveragePool(y)), width, classes)
  return weights.graph('audio', x, logits)
}
