import { constantNumber } from '../../ir/leaf.js'
import { formatShape, unknownDim } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { define, elementType, float, int, ints, zero } from '../define.js'
import { noFlops, perInput, perOutput, size } from '../flops.js'
import { carriedType } from './elementwise.js'

const random = zero('random, whatever the input')
const like = (x: Value, dtype: number | undefined): TensorType => ({
  dtype: dtype === undefined ? x.dtype : carriedType(dtype),
  shape: x.shape,
})
function randomType(shape: readonly number[], dtype: number): TensorType {
  if (shape.some((dim) => dim < 0)) throw new OnnxIreError('invalid-shape', `${formatShape(shape)} is not a shape`)
  return { dtype: carriedType(dtype), shape }
}

/** Random tensors, EyeLike, and Dropout. */
export const generation = {
  Dropout: define({
    inputs: ['x', 'ratio?', 'training_mode?'],
    outputs: ['y', 'mask?'],
    attributes: { seed: int.optional },
    since: 12,
    configInputs: ['ratio'],
    // Unless the training mode is known to be off.
    random: ([, , training]) => training !== null && constantNumber(training) !== 0,
    view: 'same',
    flops: ([x, , training]) => (training && constantNumber(training) !== 0 ? 3 * size(x) : 0),
    infer: ({ inputs: [x] }) => [x, { dtype: 'bool', shape: x.shape }],
  }),
  EyeLike: define({
    inputs: ['x'],
    attributes: { dtype: elementType.optional, k: int(0) },
    since: 9,
    gradient: zero('a constant of the shape of its input'),
    enlarges: true,
    acceptsInt32: true,
    flops: noFlops,
    infer: ({ inputs: [x], attributes: { dtype } }) => {
      if (x.shape && x.shape.length !== 2) throw new OnnxIreError('invalid-shape', 'only matrices have an identity')
      return like(x, dtype)
    },
  }),
  RandomNormal: define({
    inputs: [],
    attributes: { dtype: elementType(1), mean: float(0), scale: float(1), seed: float.optional, shape: ints.required },
    since: 1,
    gradient: random,
    random: true,
    flops: perOutput(1),
    infer: ({ attributes: { shape, dtype } }) => randomType(shape, dtype),
  }),
  RandomUniform: define({
    inputs: [],
    attributes: { dtype: elementType(1), high: float(1), low: float(0), seed: float.optional, shape: ints.required },
    since: 1,
    gradient: random,
    random: true,
    flops: perOutput(1),
    infer: ({ attributes: { shape, dtype } }) => randomType(shape, dtype),
  }),
  RandomNormalLike: define({
    inputs: ['x'],
    attributes: { dtype: elementType.optional, mean: float(0), scale: float(1), seed: float.optional },
    since: 1,
    gradient: random,
    random: true,
    flops: perOutput(1),
    infer: ({ inputs: [x], attributes: { dtype } }) => like(x, dtype),
  }),
  RandomUniformLike: define({
    inputs: ['x'],
    attributes: { dtype: elementType.optional, high: float(1), low: float(0), seed: float.optional },
    since: 1,
    gradient: random,
    random: true,
    flops: perOutput(1),
    infer: ({ inputs: [x], attributes: { dtype } }) => like(x, dtype),
  }),
  Bernoulli: define({
    inputs: ['x'],
    attributes: { dtype: elementType.optional, seed: float.optional },
    since: 15,
    gradient: zero('a random sample'),
    random: true,
    flops: perOutput(1),
    infer: ({ inputs: [x], attributes: { dtype } }) => like(x, dtype),
  }),
  Multinomial: define({
    inputs: ['x'],
    attributes: { dtype: elementType(6), sample_size: int(1), seed: float.optional },
    since: 7,
    gradient: zero('a random sample'),
    random: true,
    flops: perInput(1),
    infer: ({ inputs: [x], attributes: { dtype, sample_size } }) => ({
      dtype: carriedType(dtype),
      shape: [x.shape?.[0] ?? unknownDim(), sample_size],
    }),
  }),
}
