import { constant, type Graph, input, op, type Value } from 'onnx-ire'
import { layerNorm, projection } from './layers.js'
import { Weights } from './weights.js'

export interface TransformerOptions {
  readonly vocabulary?: number
  readonly context?: number
  readonly width?: number
  readonly heads?: number
  readonly layers?: number
  readonly seed?: number
}

/**
 * A decoder-only transformer (GPT-2's block: norms first, learned positions, GELU): tokens int64 [N, context] to
 * logits [N, context, vocabulary], the head tied to the embedding.
 */
export function transformer(options: TransformerOptions = {}): Graph {
  const { vocabulary = 256, context = 64, width = 128, heads = 4, layers = 2, seed = 0 } = options
  const weights = new Weights(seed)
  const tokens = input('tokens', 'int64', ['N', context])
  const embedding = weights.normal('embedding.weight', [vocabulary, width], 0.02)
  const positions = weights.normal('positions.weight', [context, width], 0.01)
  let y = op.Add(op.Gather(embedding, tokens), op.Gather(positions, constant(range(context))))
  for (let i = 0; i < layers; i++) {
    const name = `block${i}`
    y = op.Add(
      y,
      attention(weights, `${name}.attention`, layerNorm(weights, `${name}.norm1`, y, width), { context, width, heads }),
    )
    y = op.Add(y, feedForward(weights, `${name}.mlp`, layerNorm(weights, `${name}.norm2`, y, width), width))
  }
  const logits = op.MatMul(layerNorm(weights, 'norm', y, width), op.Transpose(embedding, { perm: [1, 0] }))
  return {
    name: 'transformer',
    inputs: new Map([['tokens', tokens]]),
    parameters: weights.drawn,
    outputs: new Map([['logits', logits]]),
  }
}

/** softmax(q k^T / sqrt(d) + causal mask) v over `heads` heads. */
function attention(
  weights: Weights,
  name: string,
  x: Value,
  { context, width, heads }: { context: number; width: number; heads: number },
): Value {
  const size = width / heads
  const split = (part: string, perm: readonly number[]) =>
    op.Transpose(op.Reshape(projection(weights, `${name}.${part}`, x, width, width), [0, context, heads, size]), {
      perm,
    })
  const q = split('query', [0, 2, 1, 3])
  const k = split('key', [0, 2, 3, 1])
  const v = split('value', [0, 2, 1, 3])
  const scores = op.Add(op.Mul(op.MatMul(q, k), 1 / Math.sqrt(size)), causalMask(context))
  const mixed = op.MatMul(op.Softmax(scores, { axis: -1 }), v)
  return projection(
    weights,
    `${name}.output`,
    op.Reshape(op.Transpose(mixed, { perm: [0, 2, 1, 3] }), [0, context, width]),
    width,
    width,
  )
}

function feedForward(weights: Weights, name: string, x: Value, width: number): Value {
  const hidden = op.Gelu(projection(weights, `${name}.expand`, x, width, 4 * width), { approximate: 'tanh' })
  return projection(weights, `${name}.contract`, hidden, 4 * width, width)
}

/** 0 where a position may look, -1e9 where it would look ahead. */
function causalMask(context: number): Value {
  const data = Float32Array.from({ length: context * context }, (_, i) =>
    i % context > Math.floor(i / context) ? -1e9 : 0,
  )
  return constant({ dtype: 'float32', dims: [1, 1, context, context], data })
}

const range = (length: number) =>
  ({ dtype: 'int64', dims: [length], data: BigInt64Array.from({ length }, (_, i) => BigInt(i)) }) as const
