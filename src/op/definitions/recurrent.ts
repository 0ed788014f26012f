import { type Dim, type Shape, unknownDim } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { define, float, floats, int, string, strings } from '../define.js'

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

export const recurrent = {
  RNN: define({
    inputs: ['x', 'w', 'r', 'b?', 'sequenceLens?', 'initialH?'],
    outputs: ['y?', 'yH?'],
    attributes,
    since: 14,
    infer: ({ inputs: [x, , r], attributes }) => types(x, r, attributes, 1),
  }),
  GRU: define({
    inputs: ['x', 'w', 'r', 'b?', 'sequenceLens?', 'initialH?'],
    outputs: ['y?', 'yH?'],
    attributes: { ...attributes, linear_before_reset: int(0) },
    since: 14,
    infer: ({ inputs: [x, , r], attributes }) => types(x, r, attributes, 1),
  }),
  LSTM: define({
    inputs: ['x', 'w', 'r', 'b?', 'sequenceLens?', 'initialH?', 'initialC?', 'p?'],
    outputs: ['y?', 'yH?', 'yC?'],
    attributes: { ...attributes, input_forget: int(0) },
    since: 14,
    infer: ({ inputs: [x, , r], attributes }) => types(x, r, attributes, 2),
  }),
}
