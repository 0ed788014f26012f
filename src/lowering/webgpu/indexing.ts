import { constant, scalar, tensorFrom } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { selectionExpansions } from '../../op/compose/selection.js'
import { knownNumbers } from '../../op/contents.js'
import type { indexing, selection } from '../../op/definitions/indexing.js'
import { op } from '../../op/op.js'
import { narrowConstant } from '../convert.js'
import type { Lowerings } from '../lowering.js'
import { counted, numbersAlong, numbersTo } from './lengths.js'
import { cast } from './through.js'

/** 1 at the indices' places among `depth` numbers, which come from the end where they are negative. */
function hot(indices: Value, depth: Value, axis: number): Value | null {
  const [length] = knownNumbers(depth) ?? []
  if (length === undefined || !indices.shape) return null
  const at = axisOf(axis, indices.shape.length + 1)
  const behind = indices.shape.length - at
  const whole = cast(indices, 'int32')
  const places = op.Where(op.Less(whole, 0), op.Add(whole, Math.trunc(length)), whole)
  const numbers = op.Reshape(numbersTo(Math.trunc(length)), [-1, ...Array<number>(behind).fill(1)])
  return op.Equal(op.Unsqueeze(places, [at]), numbers)
}

/** Elements before a row's length in reverse, the others as they stand. */
function reversed(x: Value, lengths: Value, batchAxis: number, timeAxis: number): Value | null {
  if (!x.shape) return null
  const [batch, time] = [axisOf(batchAxis, x.shape.length), axisOf(timeAxis, x.shape.length)]
  const along = (axis: number) => x.shape!.map((_, other) => (other === axis ? -1 : 1))
  const ends = op.Reshape(cast(lengths, 'int32'), along(batch))
  const places = op.Reshape(numbersAlong(x, time), along(time))
  const turned = op.Where(op.Less(places, ends), op.Sub(op.Sub(ends, places), 1), places)
  return op.GatherElements(x, op.Expand(turned, op.Shape(x)), { axis: time })
}

/** Elements up to which a range is a constant. */
const WRITTEN_OUT = 2 ** 20

/** start, start + delta ...: written out where all is known, else by counting ones from a start of which only the end is not known. */
function range(start: Value, limit: Value, delta: Value): Value | null {
  const [from, to, step] = [start, limit, delta].map((value) => knownNumbers(value)?.[0])
  if (from === undefined || step === undefined) return null
  const { dtype } = start
  if (to !== undefined) {
    const length = Math.max(0, Math.ceil((to - from) / step))
    if (length > WRITTEN_OUT) return null
    const numbers = tensorFrom(
      dtype,
      [length],
      Array.from({ length }, (_, i) => from + i * step),
    )
    return constant(dtype === 'int64' ? narrowConstant(numbers) : numbers)
  }
  if (from !== 0 || step !== 1 || dtype !== 'int64') return null
  return counted(op.Reshape(limit, [1]))
}

export const indexingLowerings = {
  TensorScatter: selectionExpansions.TensorScatter,
  OneHot: ([indices, depth, values], { axis }) => {
    const places = hot(indices, depth, axis)
    return places && op.Where(places, op.Gather(values, scalar('int64', 1)), op.Gather(values, scalar('int64', 0)))
  },
  Range: ([start, limit, delta]) => range(start, limit, delta),
  ReverseSequence: ([x, lengths], { batch_axis, time_axis }) => reversed(x, lengths, batch_axis, time_axis),
  ConstantOfShape: ([shape], { value }) => {
    const element = value ? constant({ ...value, dims: [] }) : scalar('float32', 0)
    return op.Expand(element, shape)
  },
} satisfies Lowerings<typeof indexing & typeof selection>
