import { type Dim, mulDims, type Shape, unknownDim } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkShape } from '../contents.js'
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

/** Operands of a recurrent operator; absent ones are null. */
interface Operands {
  readonly x: Value
  readonly w: Value
  readonly r: Value
  readonly b: Value | null
  readonly lengths: Value | null
  /** Initial states by name. */
  readonly states: Readonly<Record<string, Value | null>>
  readonly peepholes?: Value | null
}

/**
 * Of x [T, N, I] and r [D, gates H, H]: y [T, D, N, H] and as many last states [D, N, H]; with layout 1 the batch comes
 * first: x [N, T, I], y [N, T, D, H], states [N, D, H].
 */
function types(
  { x, w, r, b, lengths, states, peepholes }: Operands,
  gates: number,
  { direction, layout, hidden_size }: { direction: string; layout: number; hidden_size: number | undefined },
): TensorType[] {
  if (x.shape && x.shape.length !== 3) throw new OnnxIreError('invalid-shape', 'x has the axes time, batch and feature')
  if (r.shape && r.shape.length !== 3)
    throw new OnnxIreError('invalid-shape', 'r has the axes direction, gate and hidden unit')
  if (hidden_size !== undefined && hidden_size < 1)
    throw new OnnxIreError('invalid-model', `hidden_size must be at least 1, got ${hidden_size}`)
  if (!['forward', 'reverse', 'bidirectional'].includes(direction)) {
    throw new OnnxIreError('invalid-model', `direction is 'forward', 'reverse' or 'bidirectional', not '${direction}'`)
  }
  const [first, second]: readonly Dim[] = x.shape ?? [unknownDim(), unknownDim()]
  const [time, batch] = layout ? [second!, first!] : [first!, second!]
  const directions = direction === 'bidirectional' ? 2 : 1
  const hidden = hidden_size ?? r.shape?.[2] ?? unknownDim()
  const y: Shape = layout ? [batch, time, directions, hidden] : [time, directions, batch, hidden]
  const state: Shape = layout ? [batch, directions, hidden] : [directions, batch, hidden]
  checkShape('w', w, [directions, mulDims(hidden, gates), x.shape?.[2] ?? unknownDim()])
  checkShape('r', r, [directions, mulDims(hidden, gates), hidden])
  checkShape('b', b, [directions, mulDims(hidden, 2 * gates)])
  checkShape('sequence_lens', lengths, [batch])
  for (const [name, initial] of Object.entries(states)) checkShape(name, initial, state)
  checkShape('p', peepholes, [directions, mulDims(hidden, 3)])
  return [y, ...Object.keys(states).map(() => state)].map((shape) => ({ dtype: x.dtype, shape }))
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
    infer: ({ inputs: [x, w, r, b, lengths, initial_h], attributes }) =>
      types({ x, w, r, b, lengths, states: { initial_h } }, 1, attributes),
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
    infer: ({ inputs: [x, w, r, b, lengths, initial_h], attributes }) =>
      types({ x, w, r, b, lengths, states: { initial_h } }, 3, attributes),
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
    infer: ({ inputs: [x, w, r, b, lengths, initial_h, initial_c, peepholes], attributes }) =>
      types({ x, w, r, b, lengths, states: { initial_h, initial_c }, peepholes }, 4, attributes),
  }),
}
