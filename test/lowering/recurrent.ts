import { Weights } from '../../models/weights.js'
import { input, op, type Value } from '../../src/graph/index.js'
import { adamw, crossEntropy, type Runtime, Trainer } from '../../src/index.js'
import { clusters, modelFrom } from '../train/problem.js'

export const cells = ['LSTM', 'GRU', 'RNN'] as const
export type Cell = (typeof cells)[number]

const [length, features, hidden, classes] = [5, 3, 6, 3]
/** Blocks of weights: one for each gate. */
const gates = { LSTM: 4, GRU: 3, RNN: 1 }

/** Reads x [N, length, features] in both directions and classifies what is left at both ends. */
function classifier(cell: Cell) {
  const weights = new Weights(4)
  const x = input('x', 'float32', ['N', length, features])
  const rows = gates[cell] * hidden
  const [w, r, b] = [
    weights.within('w', [2, rows, features], 0.4),
    weights.within('r', [2, rows, hidden], 0.4),
    weights.within('b', [2, 2 * rows], 0.4),
  ]
  const steps = op.Transpose(x, { perm: [1, 0, 2] })
  const attributes = { hidden_size: hidden, direction: 'bidirectional' }
  const [, last] = (op[cell] as unknown as (...of: unknown[]) => readonly Value[])(steps, w, r, b, attributes)
  const ends = op.Flatten(op.Transpose(last!, { perm: [1, 0, 2] }))
  const head = weights.within('head', [2 * hidden, classes], 0.4)
  return weights.graph(cell, x, op.MatMul(ends, head))
}

/** Losses of four steps; the last batch of an epoch is smaller. */
export async function lossesOf(cell: Cell, runtime: Runtime): Promise<number[]> {
  const trainer = await Trainer.create(modelFrom(classifier(cell)), {
    loss: crossEntropy(),
    optimizer: adamw({ lr: 0.05 }),
    runtime,
    batchSize: 4,
    seed: 2,
  })
  const losses: number[] = []
  for await (const { loss } of trainer.fit(clusters(6, [length, features]), { totalEpochs: 2 })) losses.push(loss)
  await trainer.dispose()
  return losses
}
