import type { Value } from '../../../ir/value.js'
import type { recurrent } from '../../../op/definitions/recurrent.js'
import { along, type Costs, size } from './cost.js'

/**
 * Every step multiplies x [I] and the state [H] by the weights of all gates; `gate` operations per hidden unit and gate (two
 * products and a bias added, an activation), `cell` more per hidden unit.
 */
function layer(x: Value, w: Value, r: Value, gate: number, cell: number): number {
  const steps = size(x) / along(x, -1)
  const units = along(r, 0) * along(r, 2)
  return steps * (2 * size(w) + 2 * size(r) + gate * along(r, 0) * along(r, 1) + cell * units)
}

export const recurrentCosts = {
  RNN: ([x, w, r, b]) => layer(x, w, r, b ? 3 : 2, 0),
  // (1 - z) h~ + z h, and r h
  GRU: ([x, w, r, b]) => layer(x, w, r, b ? 3 : 2, 5),
  // c = f c + i g, h = o tanh(c); peepholes are three products added
  LSTM: ([x, w, r, b, , , , p]) => layer(x, w, r, b ? 3 : 2, p ? 11 : 5),
} satisfies Costs<typeof recurrent>
