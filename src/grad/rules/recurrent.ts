import type { recurrent } from '../../op/recurrent.js'
import type { Expansions } from '../rule.js'
import { activationsOf } from './recurrent/activations.js'
import { gruCell, lstmCell, rnnCell } from './recurrent/cells.js'
import { layer } from './recurrent/layer.js'

const directionsOf = (direction: string): number => (direction === 'bidirectional' ? 2 : 1)

/** The functions of direction d among those of all directions. */
const ofDirection = <T>(all: readonly T[], count: number, d: number): readonly T[] =>
  all.slice(d * count, (d + 1) * count)

export const recurrentExpansions = {
  RNN: ([x, w, r, b = null, sequenceLens = null, h = null], attributes) => {
    const all = activationsOf(attributes, ['Tanh'], directionsOf(attributes.direction))
    const [y, yH] = layer({ x, w, r, b, sequenceLens, initial: [h], p: null }, attributes, (weights, d) =>
      rnnCell(weights, ofDirection(all, 1, d)),
    )
    return [y!, yH!]
  },
  GRU: ([x, w, r, b = null, sequenceLens = null, h = null], attributes) => {
    const all = activationsOf(attributes, ['Sigmoid', 'Tanh'], directionsOf(attributes.direction))
    const [y, yH] = layer({ x, w, r, b, sequenceLens, initial: [h], p: null }, attributes, (weights, d) =>
      gruCell(weights, ofDirection(all, 2, d), attributes.linear_before_reset !== 0),
    )
    return [y!, yH!]
  },
  LSTM: ([x, w, r, b = null, sequenceLens = null, h = null, c = null, p = null], attributes) => {
    const all = activationsOf(attributes, ['Sigmoid', 'Tanh', 'Tanh'], directionsOf(attributes.direction))
    const [y, yH, yC] = layer({ x, w, r, b, sequenceLens, initial: [h, c], p }, attributes, (weights, d) =>
      lstmCell(weights, ofDirection(all, 3, d), attributes.input_forget !== 0),
    )
    return [y!, yH!, yC!]
  },
} satisfies Expansions<typeof recurrent>
