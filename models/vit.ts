import type { Graph } from 'onnx-ire'
import { input, op, type Value } from 'onnx-ire/graph'
import { attention, positionsTo } from './attention.js'
import { check } from './check.js'
import { convolution, dropout, type Initializer, layerNorm, projection } from './layers.js'
import { Weights } from './weights.js'

/** Sizes of `vit`. */
export interface VitOptions {
  /** Channels of the image. Default 3. */
  readonly channels?: number
  /** Side of the square image. Default 224. */
  readonly size?: number
  /** Side of a square patch; divides `size`. Default 16. */
  readonly patch?: number
  /** Width of the tokens. Default 192, as ViT-Tiny. */
  readonly width?: number
  /** Attention heads. Default 3. */
  readonly heads?: number
  /** Transformer blocks. Default 12. */
  readonly layers?: number
  /** Width of the feed-forward layer. Default 4 * width. */
  readonly hidden?: number
  /** Dropout rate of the embedded patches and the residual branches, in training. Default 0. */
  readonly dropout?: number
  /** Number of classes. Default 1000. */
  readonly classes?: number
  /** Seed of the initial weights. Default 0. */
  readonly seed?: number
}

/**
 * A vision transformer (Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929; sizes and initialization as in DeiT,
 * Touvron et al. 2021): x [N, channels, size, size] to logits [N, classes], read at the class token.
 */
export function vit(options: VitOptions = {}): Graph {
  const { channels = 3, size = 224, patch = 16, classes = 1000, dropout: rate = 0, seed = 0 } = options
  const { width = 192, heads = 3, layers = 12, hidden = 4 * width } = options
  check(size % patch === 0, 'vit', `patches of ${patch} pixels do not divide a side of ${size}`)
  const weights = new Weights(seed)
  const initialize: Initializer = (name, dims) => weights.truncatedNormal(name, dims, 0.02)
  const x = input('x', 'float32', ['N', channels, size, size])
  const patches = (size / patch) ** 2
  const length = patches + 1

  const pixels = convolution(weights, 'patches', x, channels, width, {
    kernel: patch,
    stride: patch,
    pad: 0,
    bias: true,
  })
  const embedded = op.Transpose(op.Reshape(pixels, [0, width, patches]), { perm: [0, 2, 1] })
  // Embedding tables, as in a text model: the class token [1, 1, width] and the positions [length, width].
  const token = op.Gather(initialize('token.weight', [1, width]), op.Reshape(positionsTo(1), [1, 1]))
  const tokens = op.Expand(
    token,
    op.Concat([op.Shape(x, { start: 0, end: 1 }), op.Shape(token, { start: 1 })], { axis: 0 }),
  )
  const positions = op.Gather(initialize('positions.weight', [length, width]), positionsTo(length))
  let y = dropout(op.Add(op.Concat([tokens, embedded], { axis: 1 }), positions), rate)

  const norm = (name: string, of: Value) => layerNorm(weights, name, of, width, 1e-6)
  for (let i = 0; i < layers; i++) {
    const name = `block${i}`
    const shape = { length, width, heads, initialize }
    y = op.Add(y, dropout(attention(weights, `${name}.attention`, norm(`${name}.norm1`, y), shape), rate))
    const inner = op.Gelu(
      projection(weights, `${name}.mlp.expand`, norm(`${name}.norm2`, y), width, hidden, { initialize }),
    )
    y = op.Add(y, dropout(projection(weights, `${name}.mlp.contract`, inner, hidden, width, { initialize }), rate))
  }
  const read = op.Squeeze(op.Slice(y, [0], [1], [1]), [1])
  const logits = projection(weights, 'head', norm('norm', read), width, classes, { initialize })
  return weights.graph('vit', x, logits)
}
