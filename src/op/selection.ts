import { axisOf, formatShape, type Shape, unknownDim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'
import { define, int, string, zero } from './define.js'
import { checkReduction } from './indexing.js'
import { checkIntegers } from './known.js'
import { checkLengths } from './movement.js'

function gatheredNd(x: Value, indices: Value, batchDims: number): Shape | undefined {
  checkIntegers(indices)
  const depth = indices.shape?.at(-1)
  if (!x.shape || !indices.shape || typeof depth !== 'number') return undefined
  if (batchDims + depth > x.shape.length || batchDims >= indices.shape.length) {
    throw new OnnxIreError(
      'invalid-shape',
      `indices of ${depth} axes behind ${batchDims} batch axes do not address ${formatShape(x.shape)}`,
    )
  }
  return [...indices.shape.slice(0, -1), ...x.shape.slice(batchDims + depth)]
}

/** Elements at positions of several axes at once, and those that values decide on. */
export const selection = {
  GatherND: define({
    inputs: ['x', 'indices'],
    attributes: { batch_dims: int(0) },
    since: 12,
    infer: ({ inputs: [x, indices], attributes: { batch_dims } }) => ({
      dtype: x.dtype,
      shape: gatheredNd(x, indices, batch_dims),
    }),
  }),
  ScatterND: define({
    inputs: ['x', 'indices', 'updates'],
    attributes: { reduction: string('none') },
    since: 18,
    infer: ({ inputs: [x, indices], attributes: { reduction } }) => {
      checkReduction(reduction)
      gatheredNd(x, indices, 0)
      return x
    },
  }),
  TensorScatter: define({
    inputs: ['past_cache', 'update', 'write_indices?'],
    attributes: { axis: int(-2), mode: string('linear') },
    since: 24,
    infer: ({ inputs: [past, update], attributes: { axis, mode } }) => {
      if (!['linear', 'circular'].includes(mode))
        throw new OnnxIreError('invalid-model', `mode '${mode}' is none of linear, circular`)
      if (past.shape && axisOf(axis, past.shape.length) === 0)
        throw new OnnxIreError('invalid-shape', 'axis 0 is the batch, which is not written to')
      if (past.shape && update.shape && past.shape.length !== update.shape.length) {
        throw new OnnxIreError(
          'invalid-shape',
          `an update ${formatShape(update.shape)} and a cache ${formatShape(past.shape)} differ in rank`,
        )
      }
      return past
    },
  }),
  Compress: define({
    inputs: ['x', 'condition'],
    attributes: { axis: int.optional },
    since: 11,
    infer: ({ inputs: [x], attributes: { axis } }) => {
      if (axis === undefined) return { dtype: x.dtype, shape: [unknownDim()] }
      const at = x.shape && axisOf(axis, x.shape.length)
      return { dtype: x.dtype, shape: x.shape?.map((dim, index) => (index === at ? unknownDim() : dim)) }
    },
  }),
  OneHot: define({
    inputs: ['indices', 'depth', 'values'],
    attributes: { axis: int(-1) },
    since: 11,
    infer: ({ inputs: [indices, depth, values], attributes: { axis } }) => {
      if (!indices.shape) return { dtype: values.dtype, shape: undefined }
      const at = axisOf(axis, indices.shape.length + 1)
      const length = depth.contents?.[0]
      checkLengths(length === undefined ? undefined : [length])
      return { dtype: values.dtype, shape: indices.shape.toSpliced(at, 0, length ?? unknownDim()) }
    },
  }),
  Unique: define({
    inputs: ['x'],
    outputs: ['y', 'indices', 'inverse_indices', 'counts'],
    attributes: { axis: int.optional, sorted: int(1) },
    since: 11,
    infer: ({ inputs: [x], attributes: { axis } }) => {
      const count = unknownDim()
      const positions = { dtype: 'int64', shape: [count] } as const
      const at = axis === undefined || !x.shape ? undefined : axisOf(axis, x.shape.length)
      const shape = axis === undefined ? [count] : x.shape?.map((dim, index) => (index === at ? count : dim))
      const inverse = at === undefined ? unknownDim() : x.shape![at]!
      return [{ dtype: x.dtype, shape }, positions, { dtype: 'int64', shape: [inverse] }, positions]
    },
  }),
  NonMaxSuppression: define({
    inputs: ['boxes', 'scores', 'max_output_boxes_per_class?', 'iou_threshold?', 'score_threshold?'],
    attributes: { center_point_box: int(0) },
    since: 10,
    gradient: zero('positions of boxes'),
    infer: () => ({ dtype: 'int64', shape: [unknownDim(), 3] }),
  }),
  ReverseSequence: define({
    inputs: ['x', 'sequence_lens'],
    attributes: { batch_axis: int(1), time_axis: int(0) },
    since: 10,
    infer: ({ inputs: [x], attributes: { batch_axis, time_axis } }) => {
      if (x.shape && (axisOf(batch_axis, x.shape.length) === axisOf(time_axis, x.shape.length) || x.shape.length < 2)) {
        throw new OnnxIreError('invalid-shape', 'batch_axis and time_axis are the same axis')
      }
      return x
    },
  }),
}
