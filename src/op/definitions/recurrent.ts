import { type Dim, type Shape, unknownDim } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { define, float, floats, int, string, strings } from '../define.js'
import { lengthAt, size } from '../flops.js'

const attributes = {
  activation_alpha: floats.optional,
  activation_beta: floats.optional,
  activations: strings.optional,
  clip: float.optional,
  direction: string('forward'),
  hidden_size: int.optional,
  layout: int(0),
}

/**
 * Of x [T, N, I] and r [D, gates H, H]: y [T, D, N, H] and as many last states [D, N, H]; with layout 1 the batch comes
 * first: x [N, T, I], y [N, T, D, H], states [N, D, H].
 */
function types(
  x: Value,
  r: Value,
  { direction, layout, hidden_size }: { direction: string; layout: number; hidden_size: number | undefined },
  states: number,
): TensorType[] {
  if (x.shape && x.shape.length !== 3) throw new OnnxIreError('invalid-shape', 'x has the axes time, batch and feature')
  if (r.shape && r.shape.length !== 3)
    throw new OnnxIreError('invalid-shape', 'r has the axes direction, gate and hidden unit')
  if (!['forward', 'reverse', 'bidirectional'].includes(direction)) {
    throw new OnnxIreError('invalid-model', `direction is 'forward', 'reverse' or 'bidirectional', not '${direction}'`)
  }
  const [first, second]: readonly Dim[] = x.shape ?? [unknownDim(), unknownDim()]
  const [time, batch] = layout ? [second!, first!] : [first!, second!]
  const directions = direction === 'bidirectional' ? 2 : 1
  const hidden = hidden_size ?? r.shape?.[2] ?? unknownDim()
  const y: Shape = layout ? [batch, time, directions, hidden] : [time, directions, batch, hidden]
  const state: Shape = layout ? [batch, directions, hidden] : [directions, batch, hidden]
  return [y, ...Array.from({ length: states }, () => state)].map((shape) => ({ dtype: x.dtype, shape }))
}

/** Filters of the weights [D, gates H, I] and [D, gates H, H]: one per direction and gate unit. */
const filterAxes = { w: () => [0, 1], r: () => [0, 1] }

/**
 * Every step multiplies x [I] and the state [H] by the weights of all gates. `gate` operations per hidden unit and gate
 * (sum of the two products and the bias, activation), `cell` more per hidden unit.
 */
function layerFlops(x: Value, w: Value, r: Value, gate: number, cell: number): number {
  const steps = size(x) / lengthAt(x, -1)
  const units = lengthAt(r, 0) * lengthAt(r, 2)
  return steps * (2 * size(w) + 2 * size(r) + gate * lengthAt(r, 0) * lengthAt(r, 1) + cell * units)
}

export const recurrent = {
  RNN: define({
    inputs: ['x', 'w', 'r', 'b?', 'sequenceLens?', 'initialH?'],
    outputs: ['y?', 'yH?'],
    attributes,
    since: 14,
    weights: ['w', 'r', 'b'],
    layer: 'own',
    filterAxes,
    flops: ([x, w, r, b]) => layerFlops(x, w, r, b ? 3 : 2, 0),
    infer: ({ inputs: [x, , r], attributes }) => types(x, r, attributes, 1),
  }),
  GRU: define({
    inputs: ['x', 'w', 'r', 'b?', 'sequenceLens?', 'initialH?'],
    outputs: ['y?', 'yH?'],
    attributes: { ...attributes, linear_before_reset: int(0) },
    since: 14,
    weights: ['w', 'r', 'b'],
    layer: 'own',
    filterAxes,
    maxOpset: { webgpu: 21 },
    // (1 - z) h~ + z h, and r h
    flops: ([x, w, r, b]) => layerFlops(x, w, r, b ? 3 : 2, 5),
    infer: ({ inputs: [x, , r], attributes }) => types(x, r, attributes, 1),
  }),
  LSTM: define({
    inputs: ['x', 'w', 'r', 'b?', 'sequenceLens?', 'initialH?', 'initialC?', 'p?'],
    outputs: ['y?', 'yH?', 'yC?'],
    attributes: { ...attributes, input_forget: int(0) },
    since: 14,
    weights: ['w', 'r', 'b', 'p'],
    layer: 'own',
    filterAxes,
    maxOpset: { webgpu: 21 },
    // c = f c + i g, h = o tanh(c); peepholes are three products added
    flops: ([x, w, r, b, , , , p]) => layerFlops(x, w, r, b ? 3 : 2, p ? 11 : 5),
    infer: ({ inputs: [x, , r], attributes }) => types(x, r, attributes, 2),
  }),
}
