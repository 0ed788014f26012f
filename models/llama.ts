import type { Graph } from 'onnx-ire'
import { constant, input, op, type Value } from 'onnx-ire/graph'
import { attention, causalMask } from './attention.js'
import { dropout, type Initializer, projection, rmsNorm } from './layers.js'
import { Weights } from './weights.js'

/** Sizes of `llama`. */
export interface LlamaOptions {
  /** Number of tokens. Default 256, for bytes. */
  readonly vocabulary?: number
  /** Tokens per example. Default 128. */
  readonly context?: number
  /** Width of the tokens. Default 128. */
  readonly width?: number
  /** Attention heads. Default 4. */
  readonly heads?: number
  /** Heads of keys and values, each shared by heads / keyHeads heads (grouped queries). Default: `heads`. */
  readonly keyHeads?: number
  /** Whether query, key and value have biases, as in Qwen2. Default false. */
  readonly qkvBias?: boolean
  /** Base of the wavelengths of rotary positions. Default 10000. */
  readonly theta?: number
  /** Added to the mean square in RMS norms. Default 1e-5. */
  readonly epsilon?: number
  /** Transformer blocks. Default 2. */
  readonly layers?: number
  /** Width of the feed-forward layer. Default 8/3 width, rounded up to a multiple of 256. */
  readonly hidden?: number
  /** Whether the head shares the embedding's weights. Default false. */
  readonly tied?: boolean
  /** Dropout rate of the residual branches, in training. Default 0. */
  readonly dropout?: number
  /** Seed of the initial weights. Default 0. */
  readonly seed?: number
}

/**
 * Llama (Touvron et al. 2023, https://arxiv.org/abs/2302.13971: RMS norms first, rotary positions, SwiGLU, no biases)
 * and its relatives with grouped queries (SmolLM2) and biases of query, key and value (Qwen2.5): tokens int64 [N,
 * context] to logits [N, context, vocabulary]. Weights are initialized as in GPT-2: normal with standard deviation
 * 0.02, and 0.02 / sqrt(2 layers) for those that add to the residual stream.
 */
export function llama(options: LlamaOptions = {}): Graph {
  const { vocabulary = 256, context = 128, width = 128, heads = 4, layers = 2, tied = false, seed = 0 } = options
  const { hidden = 256 * Math.ceil((8 * width) / 3 / 256), dropout: rate = 0 } = options
  const { keyHeads = heads, qkvBias = false, theta = 10000, epsilon = 1e-5 } = options
  const weights = new Weights(seed)
  const initialize: Initializer = (name, dims) => weights.normal(name, dims, 0.02)
  const initializeOutput: Initializer = (name, dims) => weights.normal(name, dims, 0.02 / Math.sqrt(2 * layers))
  const rotate = rotary(context, width / heads, theta)
  const mask = causalMask(context)

  const tokens = input('tokens', 'int64', ['N', context])
  const embedding = initialize('embedding.weight', [vocabulary, width])
  let y = op.Gather(embedding, tokens)
  for (let i = 0; i < layers; i++) {
    const name = `block${i}`
    const shape = {
      ...{ length: context, width, heads, keyHeads, bias: qkvBias, outputBias: false },
      ...{ initialize, initializeOutput, mask, rotate },
    }
    const seen = rmsNorm(weights, `${name}.norm1`, y, width, epsilon)
    y = op.Add(y, dropout(attention(weights, `${name}.attention`, seen, shape), rate))
    const read = rmsNorm(weights, `${name}.norm2`, y, width, epsilon)
    const gate = projection(weights, `${name}.mlp.gate`, read, width, hidden, { initialize, bias: false })
    const up = projection(weights, `${name}.mlp.up`, read, width, hidden, { initialize, bias: false })
    // SwiGLU (Shazeer 2020): silu(gate) up, with silu(x) = x sigmoid(x)
    const inner = op.Mul(op.Mul(gate, op.Sigmoid(gate)), up)
    const down = projection(weights, `${name}.mlp.down`, inner, hidden, width, {
      initialize: initializeOutput,
      bias: false,
    })
    y = op.Add(y, dropout(down, rate))
  }
  const read = rmsNorm(weights, 'norm', y, width, epsilon)
  const logits = tied
    ? op.MatMul(read, op.Transpose(embedding, { perm: [1, 0] }))
    : projection(weights, 'head', read, width, vocabulary, { initialize, bias: false })
  return weights.graph('llama', tokens, logits)
}

/**
 * Rotary positions (Su et al. 2021): features i and i + size/2 of position t are rotated by the angle t / theta^(2i /
 * size), (a, b) -> (a cos - b sin, b cos + a sin). The last feature of an odd size is unchanged.
 */
function rotary(length: number, size: number, theta: number): (x: Value) => Value {
  const half = Math.floor(size / 2)
  const table = (element: (angle: number, i: number) => number, rest: number) => {
    const data = new Float32Array(length * size)
    for (let t = 0; t < length; t++)
      for (let i = 0; i < size; i++)
        data[t * size + i] = i < 2 * half ? element(t / theta ** ((i % half) / half), i) : rest
    return constant({ dtype: 'float32', dims: [length, size], data })
  }
  const cos = table(Math.cos, 1)
  const sin = table((angle, i) => (i < half ? -Math.sin(angle) : Math.sin(angle)), 0)
  const parts = size % 2 === 0 ? [half, half] : [half, half, 1]
  return (x) => {
    const [a, b, ...rest] = op.Split(x, parts, { axis: -1 })
    return op.Add(op.Mul(x, cos), op.Mul(op.Concat([b!, a!, ...rest], { axis: -1 }), sin))
  }
}
