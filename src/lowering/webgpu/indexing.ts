import { dtypeOf } from '../../ir/dtype.js'
import { constant, scalar, tensorFrom } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import { selectionExpansions } from '../../op/compose/selection.js'
import { knownNumbers } from '../../op/contents.js'
import type { generation } from '../../op/definitions/generation.js'
import type { indexing, selection } from '../../op/definitions/indexing.js'
import { op } from '../../op/op.js'
import { narrowConstant } from '../convert.js'
import type { Lowerings } from '../lowering.js'
import { dynamicRange, maxConstantElements, range, rangeAlong } from './dims.js'

/** True at the indices along a new axis of `depth` elements; negative indices count from the end. */
function oneHotMask(indices: Value, depth: Value, axis: number): Value | null {
  const [length] = knownNumbers(depth) ?? []
  if (length === undefined || !indices.shape) return null
  const at = axisOf(axis, indices.shape.length + 1)
  const behind = indices.shape.length - at
  const whole = cast(indices, 'int32')
  const places = op.Where(op.Less(whole, 0), op.Add(whole, Math.trunc(length)), whole)
  const numbers = op.Reshape(range(Math.trunc(length)), [-1, ...Array<number>(behind).fill(1)])
  return op.Equal(op.Unsqueeze(places, [at]), numbers)
}

/** Reverses the elements of each row up to the row's length; the others are unchanged. */
function reverseSequence(x: Value, lengths: Value, batchAxis: number, timeAxis: number): Value | null {
  if (!x.shape) return null
  const [batch, time] = [axisOf(batchAxis, x.shape.length), axisOf(timeAxis, x.shape.length)]
  const along = (axis: number) => x.shape!.map((_, other) => (other === axis ? -1 : 1))
  const ends = op.Reshape(cast(lengths, 'int32'), along(batch))
  const places = op.Reshape(rangeAlong(x, time), along(time))
  const turned = op.Where(op.Less(places, ends), op.Sub(op.Sub(ends, places), 1), places)
  return op.GatherElements(x, op.Expand(turned, op.Shape(x)), { axis: time })
}

/**
 * start, start + delta ...: a constant if everything is known; if only the limit is unknown, a running count from 0.
 */
function lowerRange(start: Value, limit: Value, delta: Value): Value | null {
  const [from, to, step] = [start, limit, delta].map((value) => knownNumbers(value)?.[0])
  if (from === undefined || step === undefined) return null
  const { dtype } = start
  if (to !== undefined) {
    const length = Math.max(0, Math.ceil((to - from) / step))
    if (length > maxConstantElements) return null
    const numbers = tensorFrom(
      dtype,
      [length],
      Array.from({ length }, (_, i) => from + i * step),
    )
    return constant(dtype === 'int64' ? narrowConstant(numbers) : numbers)
  }
  if (from !== 0 || step !== 1 || dtype !== 'int64') return null
  return dynamicRange(op.Reshape(limit, [1]))
}

export const indexingLowerings = {
  TensorScatter: selectionExpansions.TensorScatter,
  OneHot: ([indices, depth, values], { axis }) => {
    const places = oneHotMask(indices, depth, axis)
    return places && op.Where(places, op.Gather(values, scalar('int64', 1)), op.Gather(values, scalar('int64', 0)))
  },
  Range: ([start, limit, delta]) => lowerRange(start, limit, delta),
  ReverseSequence: ([x, lengths], { batch_axis, time_axis }) => reverseSequence(x, lengths, batch_axis, time_axis),
  ConstantOfShape: ([shape], { value }) => {
    const element = value ? constant({ ...value, dims: [] }) : scalar('float32', 0)
    return op.Expand(element, shape)
  },
} satisfies Lowerings<typeof indexing & typeof selection>

const fillLike = (x: Value, element: Value): Value => op.Expand(element, op.Shape(x))

export const generationLowerings = {
  // The identity outside of training. In training onnxruntime has no provider for it if its mask is used; the random
  // numbers are from the CPU.
  Dropout: ([x, ratio, training]) => {
    if (!training || knownNumbers(training)?.[0] === 0) return [x, cast(fillLike(x, scalar('int32', 1)), 'bool')]
    const rate = ratio ?? scalar('float32', 0.5)
    const kept = op.GreaterOrEqual(op.RandomUniformLike(x, { dtype: 1 }), cast(rate, 'float32'))
    const mask = op.Or(kept, op.Not(training))
    const scale = op.Where(training, op.Div(1, op.Sub(1, cast(rate, x.dtype))), 1)
    return [op.Where(mask, op.Mul(x, scale), 0), mask]
  },
  // Elements on or above the diagonal, minus elements above it.
  EyeLike: ([x], { dtype, k }) => {
    const ones = fillLike(x, scalar('float32', 1))
    const from = (diagonal: number) => op.Trilu(ones, scalar('int64', diagonal), { upper: 1 })
    return cast(op.Sub(from(k), from(k + 1)), dtypeOf(dtype ?? 0) ?? x.dtype)
  },
} satisfies Lowerings<typeof generation>
