import { int64s } from '../../ir/leaf.js'
import { axisOf, isStatic } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { lengthAlong } from '../../op/compose/shape.js'
import { knownNumbers } from '../../op/contents.js'
import type { slicing } from '../../op/definitions/slicing.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

/** Bounds beyond this are ways to write "to the end". */
const END = 2 ** 31 - 1

export type Bounds = readonly [x: Value, starts: Value, ends: Value, axes: Value | null, steps: Value | null]

/**
 * Backwards by other steps than 1, or from another place than the end, onnxruntime's kernel starts at a wrong element: so the
 * axes are turned around as a whole, and what stands at -1 - i is then at i.
 */
export function forwards([x, starts, ends, axes, steps]: Bounds): Value | null {
  const given = knownNumbers(steps)
  if (!given?.some((step) => step < 0) || !x.shape) return null
  const named = axes ? knownNumbers(axes)?.map((axis) => axisOf(axis, x.shape!.length)) : given.map((_, axis) => axis)
  if (!named) return null
  const turned = named.flatMap((axis, i) => (given[i]! < 0 ? [axis] : []))
  if (isTurn(given, knownNumbers(starts), knownNumbers(ends))) return null
  const back = turned.map(() => -1)
  const whole = op.Slice(
    x,
    back,
    turned.map(() => -END),
    turned,
    back,
  )
  const bounds = (list: Value, end: boolean) =>
    op.Concat(
      named.map((axis, i) => {
        const bound = op.Slice(list, [i], [i + 1])
        return given[i]! < 0 ? fromTheEnd(bound, lengthAlong(x, axis), end) : bound
      }),
      { axis: 0 },
    )
  return op.Slice(whole, bounds(starts, false), bounds(ends, true), named, given.map(Math.abs))
}

/** Whether all that goes backwards is a whole axis, element by element. */
const isTurn = (steps: readonly number[], starts?: readonly number[], ends?: readonly number[]): boolean =>
  steps.every(
    (step, i) => step > 0 || (step === -1 && starts?.[i] === -1 && ends?.[i] !== undefined && ends[i] <= -END),
  )

/** Where a bound of a backward slice stands on the axis turned around: a start at an element, an end up to one behind the last. */
function fromTheEnd(bound: Value, length: Value, end: boolean): Value {
  const place = op.Where(
    op.Less(bound, int64s([0])),
    op.Sub(int64s([-1]), bound),
    op.Sub(op.Sub(length, int64s([1])), bound),
  )
  const last = end ? length : op.Sub(length, int64s([1]))
  return op.Min([op.Max([place, int64s([0])]), last])
}

function cropped(x: Value, shape: Value, axes: readonly number[] | undefined): Value | null {
  const lengths = knownNumbers(shape)
  if (!lengths || !isStatic(x.shape)) return null
  const named = axes?.map((axis) => axisOf(axis, x.shape!.length)) ?? x.shape.map((_, axis) => axis)
  const wanted = x.shape.map((length, axis) => (named.includes(axis) ? lengths[named.indexOf(axis)]! : length))
  const all = wanted.map((_, axis) => axis)
  const over = wanted.map((length, axis) => (x.shape as readonly number[])[axis]! - length)
  const start = over.map((rest) => Math.floor(Math.max(0, rest) / 2))
  const kept = op.Slice(
    x,
    start,
    start.map((from, axis) => from + Math.min(wanted[axis]!, (x.shape as readonly number[])[axis]!)),
    all,
  )
  const missing = over.map((rest) => Math.max(0, -rest))
  const before = missing.map((rest) => Math.floor(rest / 2))
  return op.Pad(kept, [...before, ...missing.map((rest, axis) => rest - before[axis]!)])
}

export const slicingLowerings = {
  CenterCropPad: ([x, shape], { axes }) => cropped(x, shape, axes),
} satisfies Lowerings<typeof slicing>
