import { type DType, dtypeOf, isFloat } from '../../ir/dtype.js'
import { axisOf, broadcastShapes, type Dim, formatShape, type Shape } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { define, elementType, float, int, ints } from '../define.js'
import { perInput, size } from '../flops.js'

/** Per-channel operands are [C], where x is [N, C, ...]. */
function checkedChannels(x: Value, ...perChannel: readonly Value[]): Value {
  if (x.shape && x.shape.length < 2) throw new OnnxIreError('invalid-shape', 'x needs the axes [N, C, ...]')
  for (const { dtype, shape } of perChannel) {
    if (!isFloat(dtype))
      throw new OnnxIreError('invalid-shape', `takes floating-point scales and statistics, not ${dtype}`)
    if (shape) checkChannel(x.shape?.[1], shape)
  }
  return x
}

function checkChannel(channels: Dim | undefined, shape: Shape): void {
  const [length] = shape
  if (shape.length !== 1 || (typeof length === 'number' && typeof channels === 'number' && length !== channels)) {
    throw new OnnxIreError(
      'invalid-shape',
      `${formatShape(shape)} is not one number for each of the ${channels ?? 'C'} channels`,
    )
  }
}

/** Scale and bias of a normalization over the last axes broadcast to x, never beyond it. */
function checkAffine(x: Value, ...affine: readonly (Value | null)[]): void {
  for (const operand of affine) {
    if (!x.shape || !operand?.shape) continue
    const shape = broadcastShapes([x.shape, operand.shape])!
    if (
      shape.length > x.shape.length ||
      shape.some((dim, axis) => x.shape![axis] === 1 && typeof dim === 'number' && dim !== 1)
    ) {
      throw new OnnxIreError(
        'invalid-shape',
        `${formatShape(operand.shape)} does not broadcast to ${formatShape(x.shape)}`,
      )
    }
  }
}

/** Mean and invStdDev: x with every axis from `axis` on reduced to 1, in the type that `stash_type` numbers. */
function savedType(x: Value, axis: number, stashType: number): TensorType {
  const dtype: DType = dtypeOf(stashType) ?? 'float32'
  if (!x.shape) return { dtype, shape: undefined }
  const first = axisOf(axis, x.shape.length)
  return { dtype, shape: x.shape.map((dim, at) => (at < first ? dim : 1)) }
}

function checkGroups(x: Value, groups: number): void {
  const channels = x.shape?.[1]
  if (groups < 1 || (typeof channels === 'number' && channels % groups !== 0)) {
    throw new OnnxIreError('invalid-shape', `${channels ?? 'C'} channels do not fall into ${groups} groups`)
  }
}

export const normalization = {
  /**
   * With training_mode = 1: statistics of the batch (variance over n, not n - 1), and both running statistics as
   * outputs.
   */
  BatchNormalization: define({
    inputs: ['x', 'scale', 'bias', 'mean', 'var'],
    // Three outputs in training mode, else y alone.
    outputs: ['y', 'runningMean', 'runningVar'],
    attributes: { epsilon: float(1e-5), momentum: float(0.9), training_mode: int(0) },
    since: 14,
    weights: ['scale', 'bias'],
    layer: 'previous',
    maxOpset: { webgpu: 24 },
    // Fixed statistics, scale and shift combine to one factor and one summand per channel.
    flops: ([x], _, { training_mode }) => (training_mode ? 7 : 2) * size(x),
    infer: ({ inputs: [x, scale, bias, mean, variance], attributes: { training_mode } }) => {
      checkedChannels(x, scale, bias, mean, variance)
      return training_mode ? [x, mean, variance].map(({ dtype, shape }) => ({ dtype, shape })) : [x]
    },
  }),
  LayerNormalization: define({
    inputs: ['x', 'scale', 'bias?'],
    outputs: ['y', 'mean?', 'invStdDev?'],
    attributes: { axis: int(-1), epsilon: float(1e-5), stash_type: elementType(1) },
    since: 17,
    weights: ['scale', 'bias'],
    layer: 'previous',
    // mean, x - mean, its square and their mean, times 1 / deviation, scale, shift
    flops: ([x, , bias]) => (bias ? 7 : 6) * size(x),
    infer: ({ inputs: [x, scale, bias], attributes: { axis, stash_type } }) => {
      checkAffine(x, scale, bias)
      const saved = savedType(x, axis, stash_type)
      return [x, saved, saved]
    },
  }),
  RMSNormalization: define({
    inputs: ['x', 'scale'],
    attributes: { axis: int(-1), epsilon: float(1e-5), stash_type: elementType(1) },
    since: 23,
    weights: ['scale'],
    layer: 'previous',
    flops: perInput(4),
    infer: ({ inputs: [x, scale], attributes: { axis } }) => {
      checkAffine(x, scale)
      if (x.shape) axisOf(axis, x.shape.length)
      return { dtype: scale.dtype, shape: x.shape }
    },
  }),
  InstanceNormalization: define({
    inputs: ['x', 'scale', 'bias'],
    attributes: { epsilon: float(1e-5) },
    since: 6,
    weights: ['scale', 'bias'],
    layer: 'previous',
    flops: perInput(7),
    infer: ({ inputs: [x, scale, bias] }) => checkedChannels(x, scale, bias),
  }),
  GroupNormalization: define({
    inputs: ['x', 'scale', 'bias'],
    attributes: { epsilon: float(1e-5), num_groups: int.required, stash_type: elementType(1) },
    since: 21,
    weights: ['scale', 'bias'],
    layer: 'previous',
    flops: perInput(7),
    infer: ({ inputs: [x, scale, bias], attributes: { num_groups } }) => {
      checkedChannels(x, scale, bias)
      checkGroups(x, num_groups)
      return x
    },
  }),
  LRN: define({
    inputs: ['x'],
    attributes: { alpha: float(1e-4), beta: float(0.75), bias: float(1), size: int.required },
    since: 1,
    flops: ([x], _, { size: window }) => (window + 5) * size(x),
    infer: ({ inputs: [x], attributes: { size } }) => {
      if (size < 1) throw new OnnxIreError('invalid-model', `a window of ${size} channels holds none`)
      return checkedChannels(x)
    },
  }),
  LpNormalization: define({
    inputs: ['x'],
    attributes: { axis: int(-1), p: int(2) },
    since: 1,
    flops: perInput(3),
    infer: ({ inputs: [x], attributes: { axis, p } }) => {
      if (p !== 1 && p !== 2) throw new OnnxIreError('invalid-model', `p is 1 or 2, not ${p}`)
      if (x.shape) axisOf(axis, x.shape.length)
      return x
    },
  }),
  MeanVarianceNormalization: define({
    inputs: ['x'],
    attributes: { axes: ints([0, 2, 3]) },
    since: 9,
    flops: perInput(5),
    infer: ({ inputs: [x], attributes: { axes } }) => {
      if (x.shape) for (const axis of axes) axisOf(axis, x.shape.length)
      return x
    },
  }),
}
