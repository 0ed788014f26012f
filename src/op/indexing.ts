import { isFloat } from '../ir/dtype.js'
import { numbersOf } from '../ir/leaf.js'
import { axisOf, type Dim, formatShape, isStatic, type Shape, unknownDim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'
import { define, int, string, tensorAttribute, zero } from './define.js'
import { CONTENTS_LIMIT, checkIntegers, knownNumbers, offsetIn, smallSize, takenFrom } from './known.js'
import { checkLengths, shapeFrom } from './movement.js'

function gathered(x: Value, indices: Value, axis: number): Shape | undefined {
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
  return takenFrom(x, gathered(x, indices, axis), (c) => {
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

/** How scattered elements may meet what is there. */
const reductions = ['none', 'add', 'mul', 'max', 'min']
export function checkReduction(reduction: string): void {
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

export const indexing = {
  Gather: define({
    inputs: ['x', 'indices'],
    attributes: { axis: int(0) },
    since: 11,
    infer: ({ inputs: [x, indices], attributes: { axis } }) => ({ dtype: x.dtype, shape: gathered(x, indices, axis) }),
    contents: ({ inputs: [x, indices], attributes: { axis } }) => gatheredContents(x, indices, axis),
  }),
  GatherElements: define({
    inputs: ['x', 'indices'],
    attributes: { axis: int(0) },
    since: 11,
    infer: ({ inputs: [x, indices], attributes: { axis } }) => {
      checkRanks(x, indices, axis)
      return { dtype: x.dtype, shape: indices.shape ?? x.shape?.map(unknownDim) }
    },
  }),
  ScatterElements: define({
    inputs: ['x', 'indices', 'updates'],
    attributes: { axis: int(0), reduction: string('none') },
    since: 18,
    infer: ({ inputs: [x, indices], attributes: { axis, reduction } }) => {
      checkRanks(x, indices, axis)
      checkReduction(reduction)
      return x
    },
  }),
  NonZero: define({
    inputs: ['x'],
    since: 9,
    gradient: zero('positions of elements'),
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
    infer: ({ inputs: [start, limit, delta] }) => ({ dtype: start.dtype, shape: [rangeLength(start, limit, delta)] }),
    contents: ({ inputs: [start, limit, delta] }) => {
      const length = rangeLength(start, limit, delta)
      const [from] = knownNumbers(start) ?? []
      const [step] = knownNumbers(delta) ?? []
      if (typeof length !== 'number' || length > CONTENTS_LIMIT || from === undefined || step === undefined)
        return undefined
      // onnxruntime adds step to step, which rounds where steps are fractions.
      if (isFloat(start.dtype) && !(Number.isInteger(from) && Number.isInteger(step))) return undefined
      return Array.from({ length }, (_, index) => from + index * step)
    },
  }),
  ConstantOfShape: define({
    inputs: ['shape'],
    attributes: { value: tensorAttribute.optional },
    since: 9,
    gradient: zero('a constant'),
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
