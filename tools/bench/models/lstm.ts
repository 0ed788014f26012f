import type { Graph } from 'onnx-ire'
import { input, op, type Value } from 'onnx-ire/graph'
import { linear } from '../../../dist/models/layers.js'
import { Weights } from '../../../dist/models/weights.js'

/** Two LSTM layers over embedded tokens [N, context], classified by the last hidden state. */
export function lstm({
  vocabulary = 1000,
  context = 64,
  width = 128,
  hidden = 256,
  classes = 10,
  seed = 0,
} = {}): Graph {
  const weights = new Weights(seed)
  const tokens = input('tokens', 'int64', ['N', context])
  const embedded = op.Gather(weights.normal('embedding.weight', [vocabulary, width], 1), tokens)
  let y: Value = op.Transpose(embedded, { perm: [1, 0, 2] })
  let last: Value = y
  for (const [i, from] of [width, hidden].entries()) {
    const within = (name: string, dims: readonly number[]) => weights.uniform(`lstm${i}.${name}`, dims, hidden)
    const w = within('w', [1, 4 * hidden, from])
    const r = within('r', [1, 4 * hidden, hidden])
    const [all, state] = op.LSTM(y, w, r, within('b', [1, 8 * hidden]), { hidden_size: hidden })
    y = op.Squeeze(all, [1])
    last = op.Squeeze(state, [0])
  }
  return weights.graph('lstm', tokens, linear(weights, 'head', last, hidden, classes))
}
