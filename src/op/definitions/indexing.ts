import { isFloat } from '../../ir/dtype.js'
import { maxContentsElements, numbersOf } from '../../ir/leaf.js'
import { axisOf, type Dim, formatShape, isStatic, type Shape, unknownDim } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkIntegers, checkShape, knownNumbers, offsetIn, selectContents, smallSize } from '../contents.js'
import { define, int, string, tensorAttribute, zero } from '../define.js'
import { noFlops, perOutput, size, unknownFlops } from '../flops.js'
import { checkLengths, shapeFrom } from './movement.js'

function inferGather(x: Value, indices: Value, axis: number): Shape | undefined {
  checkIntegers(indices)
  if (!x.shape) return undefined
  const at = axisOf(axis, x.shape.length)
  return indices.shape && [...x.shape.slice(0, at), ...indices.shape, ...x.shape.slice(at + 1)]
}

function gatheredContents(x: Value, indices: Value, axis: number): readonly Dim[] | undefined {
  const known = knownNumbers(indices)
  if (!x.contents || !isStatic(x.shape) || !known || !isStatic(indices.shape)) return undefined
  const at = axisOf(axis, x.shape.length)
  const length = x.shape[at]!
  const outside = known.find((index) => !(index >= -length && index < length))
  if (outside !== undefined)
    throw new OnnxIreError('invalid-shape', `index ${outside} is outside an axis of ${length} elements`)
  const { shape } = indices
  return selectContents(x, inferGather(x, indices, axis), (c) => {
    const index = known[offsetIn(shape, c.slice(at, at + shape.length))]!
    return [...c.slice(0, at), index < 0 ? index + length : index, ...c.slice(at + shape.length)]
  })
}

function checkRanks(x: Value, indices: Value, axis: number): void {
  checkIntegers(indices)
  if (!x.shape || !indices.shape) return
  axisOf(axis, x.shape.length)
  if (x.shape.length !== indices.shape.length) {
    throw new OnnxIreError(
      'invalid-shape',
      `indices ${formatShape(indices.shape)} and data ${formatShape(x.shape)} differ in rank`,
    )
  }
}

/** Combination of updates with existing elements. */
const reductions = ['none', 'add', 'mul', 'max', 'min']
function checkReduction(reduction: string): void {
  if (!reductions.includes(reduction))
    throw new OnnxIreError('invalid-model', `reduction '${reduction}' is none of ${reductions.join(', ')}`)
}

/** Length of Range: max(0, ceil((limit - start) / delta)), in double precision as onnxruntime computes it. */
function rangeLength(start: Value, limit: Value, delta: Value): Dim {
  const [from, to, step] = [start, limit, delta].map((value) => value.contents?.[0])
  if (step === 0) throw new OnnxIreError('invalid-shape', 'a step of 0')
  if (typeof from === 'number' && typeof to === 'number' && typeof step === 'number') {
    const length = Math.max(0, Math.ceil((to - from) / step))
    return Number.isSafeInteger(length) ? length : unknownDim()
  }
  return from === 0 && step === 1 && typeof to === 'string' ? to : unknownDim()
}

/** One operation per update that is added, multiplied or compared. */
const scatterFlops = (updates: Value, reduction: string): number => (reduction === 'none' ? 0 : size(updates))

export const indexing = {
  Gather: define({
    inputs: ['x', 'indices'],
    attributes: { axis: int(0) },
    since: 11,
    weights: ['x'],
    layer: 'own',
    filterAxes: { x: () => [0] },
    acceptsInt32: true,
    keepsClasses: true,
    flops: noFlops,
    infer: ({ inputs: [x, indices], attributes: { axis } }) => ({
      dtype: x.dtype,
      shape: inferGather(x, indices, axis),
    }),
    contents: ({ inputs: [x, indices], attributes: { axis } }) => gatheredContents(x, indices, axis),
  }),
  GatherElements: define({
    inputs: ['x', 'indices'],
    attributes: { axis: int(0) },
    since: 11,
    acceptsInt32: true,
    flops: noFlops,
    infer: ({ inputs: [x, indices], attributes: { axis } }) => {
      checkRanks(x, indices, axis)
      return { dtype: x.dtype, shape: indices.shape ?? x.shape?.map(unknownDim) }
    },
  }),
  ScatterElements: define({
    inputs: ['x', 'indices', 'updates'],
    attributes: { axis: int(0), reduction: string('none') },
    since: 18,
    acceptsInt32: true,
    flops: ([, , updates], _, { reduction }) => scatterFlops(updates, reduction),
    infer: ({ inputs: [x, indices, updates], attributes: { axis, reduction } }) => {
      checkRanks(x, indices, axis)
      checkShape('updates', updates, indices.shape)
      checkReduction(reduction)
      return x
    },
  }),
  NonZero: define({
    inputs: ['x'],
    since: 9,
    gradient: zero('positions of elements'),
    flops: noFlops,
    infer: ({ inputs: [x] }) => ({
      dtype: 'int64',
      shape: [x.shape ? x.shape.length : unknownDim(), countNonZero(x) ?? unknownDim()],
    }),
    contents: ({ inputs: [x] }) => {
      const elements = x.shape?.length === 1 ? knownNumbers(x) : undefined
      return elements?.flatMap((element, index) => (element === 0 ? [] : [index]))
    },
  }),
  Range: define({
    inputs: ['start', 'limit', 'delta'],
    since: 11,
    configInputs: ['start', 'limit', 'delta'],
    hostInputs: ['start', 'limit', 'delta'],
    enlarges: true,
    flops: perOutput(1),
    infer: ({ inputs: [start, limit, delta] }) => {
      // onnxruntime takes a tensor of one axis and one element too.
      for (const [name, operand] of Object.entries({ start, limit, delta }))
        checkShape(name, operand, operand.shape?.length === 1 ? [1] : [])
      return { dtype: start.dtype, shape: [rangeLength(start, limit, delta)] }
    },
    contents: ({ inputs: [start, limit, delta] }) => {
      const length = rangeLength(start, limit, delta)
      const [from] = knownNumbers(start) ?? []
      const [step] = knownNumbers(delta) ?? []
      if (typeof length !== 'number' || length > maxContentsElements || from === undefined || step === undefined)
        return undefined
      // onnxruntime accumulates the steps, which rounds if they are fractions.
      if (isFloat(start.dtype) && !(Number.isInteger(from) && Number.isInteger(step))) return undefined
      return Array.from({ length }, (_, index) => from + index * step)
    },
  }),
  ConstantOfShape: define({
    inputs: ['shape'],
    attributes: { value: tensorAttribute.optional },
    since: 9,
    gradient: zero('a constant'),
    hostInputs: ['shape'],
    enlarges: true,
    flops: noFlops,
    infer: ({ inputs: [shape], attributes: { value } }) => ({
      dtype: value?.dtype ?? 'float32',
      shape: checkLengths(shapeFrom(shape)),
    }),
    contents: ({ inputs: [shape], attributes: { value } }) => {
      const length = smallSize(shape.contents)
      const element = value && numbersOf(value)[0]
      return length === undefined ? undefined : Array.from({ length }, () => element ?? 0)
    },
  }),
}

function countNonZero(x: Value): number | undefined {
  return knownNumbers(x)?.filter((element) => element !== 0).length
}

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

/** Operators that index several axes at once, and operators whose indices depend on values. */
export const selection = {
  GatherND: define({
    inputs: ['x', 'indices'],
    attributes: { batch_dims: int(0) },
    since: 12,
    weights: ['x'],
    layer: 'own',
    int64Inputs: ['indices'],
    acceptsInt32: true,
    keepsClasses: true,
    flops: noFlops,
    infer: ({ inputs: [x, indices], attributes: { batch_dims } }) => ({
      dtype: x.dtype,
      shape: gatheredNd(x, indices, batch_dims),
    }),
  }),
  ScatterND: define({
    inputs: ['x', 'indices', 'updates'],
    attributes: { reduction: string('none') },
    since: 18,
    int64Inputs: ['indices'],
    acceptsInt32: true,
    flops: ([, , updates], _, { reduction }) => scatterFlops(updates, reduction),
    infer: ({ inputs: [x, indices, updates], attributes: { reduction } }) => {
      checkReduction(reduction)
      checkShape('updates', updates, gatheredNd(x, indices, 0))
      return x
    },
  }),
  TensorScatter: define({
    inputs: ['past_cache', 'update', 'write_indices?'],
    attributes: { axis: int(-2), mode: string('linear') },
    since: 24,
    flops: noFlops,
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
    acceptsInt32: true,
    flops: noFlops,
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
    configInputs: ['depth'],
    hostInputs: ['depth'],
    enlarges: true,
    acceptsInt32: true,
    flops: noFlops,
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
    flops: noFlops,
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
    // The scores decide which boxes are compared.
    flops: unknownFlops,
    infer: () => ({ dtype: 'int64', shape: [unknownDim(), 3] }),
  }),
  ReverseSequence: define({
    inputs: ['x', 'sequence_lens'],
    attributes: { batch_axis: int(1), time_axis: int(0) },
    since: 10,
    flops: noFlops,
    infer: ({ inputs: [x], attributes: { batch_axis, time_axis } }) => {
      if (x.shape && (axisOf(batch_axis, x.shape.length) === axisOf(time_axis, x.shape.length) || x.shape.length < 2)) {
        throw new OnnxIreError('invalid-shape', 'batch_axis and time_axis are the same axis')
      }
      return x
    },
  }),
}
