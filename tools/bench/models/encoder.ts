import type { Graph } from 'onnx-ire'
import { input, op } from 'onnx-ire/graph'
import { attention, positionsTo } from '../../../dist/models/attention.js'
import { layerNorm, projection } from '../../../dist/models/layers.js'
import { Weights } from '../../../dist/models/weights.js'

/** Encoder as BERT (Devlin et al. 2019: norms after the sums, GELU), classified at its first token through a tanh. */
export function encoder({
  vocabulary = 1000,
  context = 128,
  width = 256,
  heads = 4,
  layers = 4,
  classes = 10,
  seed = 0,
} = {}): Graph {
  const weights = new Weights(seed)
  const tokens = input('tokens', 'int64', ['N', context])
  const embedding = weights.normal('embedding.weight', [vocabulary, width], 0.02)
  const positions = weights.normal('positions.weight', [context, width], 0.02)
  const sum = op.Add(op.Gather(embedding, tokens), op.Gather(positions, positionsTo(context)))
  let y = layerNorm(weights, 'norm', sum, width)
  for (let i = 0; i < layers; i++) {
    const name = `block${i}`
    const attended = attention(weights, `${name}.attention`, y, { length: context, width, heads })
    y = layerNorm(weights, `${name}.norm1`, op.Add(y, attended), width)
    const inner = op.Gelu(projection(weights, `${name}.mlp.expand`, y, width, 4 * width))
    const fed = projection(weights, `${name}.mlp.contract`, inner, 4 * width, width)
    y = layerNorm(weights, `${name}.norm2`, op.Add(y, fed), width)
  }
  const read = op.Squeeze(op.Slice(y, [0], [1], [1]), [1])
  const pooled = op.Tanh(projection(weights, 'pool', read, width, width))
  return weights.graph('encoder', tokens, projection(weights, 'head', pooled, width, classes))
}
