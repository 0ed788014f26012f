import type { Graph } from 'onnx-ire'
import { input, op, type Value } from 'onnx-ire/graph'
import { attention, causalMask, positionsTo } from './attention.js'
import { dropout, layerNorm, projection } from './layers.js'
import { Weights } from './weights.js'

/** Sizes of `transformer`. */
export interface TransformerOptions {
  /** Number of tokens. Default 256, for bytes. */
  readonly vocabulary?: number
  /** Tokens per example. Default 64. */
  readonly context?: number
  /** Width of the tokens. Default 128. */
  readonly width?: number
  /** Attention heads. Default 4. */
  readonly heads?: number
  /** Transformer blocks. Default 2. */
  readonly layers?: number
  /** Dropout rate of the embedded tokens and the residual branches, in training. Default 0. */
  readonly dropout?: number
  /** Seed of the initial weights. Default 0. */
  readonly seed?: number
}

/**
 * A decoder-only transformer (GPT-2's block: norms first, learned positions, GELU): tokens int64 [N, context] to
 * logits [N, context, vocabulary], the head tied to the embedding.
 */
export function transformer(options: TransformerOptions = {}): Graph {
  const { vocabulary = 256, context = 64, width = 128, heads = 4, layers = 2, dropout: rate = 0, seed = 0 } = options
  const weights = new Weights(seed)
  const tokens = input('tokens', 'int64', ['N', context])
  const embedding = weights.normal('embedding.weight', [vocabulary, width], 0.02)
  const positions = weights.normal('positions.weight', [context, width], 0.01)
  let y = dropout(op.Add(op.Gather(embedding, tokens), op.Gather(positions, positionsTo(context))), rate)
  for (let i = 0; i < layers; i++) {
    const name = `block${i}`
    const attended = attention(weights, `${name}.attention`, layerNorm(weights, `${name}.norm1`, y, width), {
      length: context,
      width,
      heads,
      mask: causalMask(context),
    })
    y = op.Add(y, dropout(attended, rate))
    const fed = feedForward(weights, `${name}.mlp`, layerNorm(weights, `${name}.norm2`, y, width), width)
    y = op.Add(y, dropout(fed, rate))
  }
  const logits = op.MatMul(layerNorm(weights, 'norm', y, width), op.Transpose(embedding, { perm: [1, 0] }))
  return weights.graph('transformer', tokens, logits)
}

function feedForward(weights: Weights, name: string, x: Value, width: number): Value {
  const hidden = op.Gelu(projection(weights, `${name}.expand`, x, width, 4 * width), { approximate: 'tanh' })
  return projection(weights, `${name}.contract`, hidden, 4 * width, width)
}
