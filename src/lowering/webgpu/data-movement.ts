import { int64s } from '../../ir/leaf.js'
import { axisOf, isStatic, productOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { cast } from '../../op/compose/cast.js'
import { lengthAlong } from '../../op/compose/shape.js'
import { knownNumbers } from '../../op/contents.js'
import type { movement } from '../../op/definitions/movement.js'
import { endBound, type SliceInputs, type slicing } from '../../op/definitions/slicing.js'
import { op } from '../../op/op.js'
import type { AnyLowering, Lowerings } from '../lowering.js'
import { dimSizes } from './dims.js'
import { viaFloat32 } from './via-float32.js'

/** Flattens the axes before `axis` to one and the rest to one. One of the two lengths may be unknown. */
function flatten(x: Value, axis: number): Value {
  const [first, last] = [productOf(x.shape!.slice(0, axis)), productOf(x.shape!.slice(axis))]
  if (typeof last === 'number' && last > 0) return op.Reshape(x, [-1, last])
  if (typeof first === 'number' && first > 0) return op.Reshape(x, [first, -1])
  if (axis === 1) return op.Reshape(x, [0, -1])
  const length = op.ReduceProd(op.Shape(x, { end: axis }), [0], { keepdims: 1 })
  return op.Reshape(x, op.Concat([length, int64s([-1])], { axis: 0 }))
}

/** [N, C, H b, W b] to [N, b b C, H, W] */
function spaceToDepth(x: Value, b: number): Value {
  const [n, c, h, w] = [0, 1, 2, 3].map((axis) => lengthAlong(x, axis)) as [Value, Value, Value, Value]
  const block = int64s([b])
  const [rows, columns] = [op.Div(h, block), op.Div(w, block)]
  const split = op.Reshape(x, op.Concat([n, c, rows, block, columns, block], { axis: 0 }))
  const depth = op.Mul(c, int64s([b * b]))
  return op.Reshape(
    op.Transpose(split, { perm: [0, 3, 5, 1, 2, 4] }),
    op.Concat([n, depth, rows, columns], { axis: 0 }),
  )
}

export const movementLowerings = {
  // Only for lengths used as data: shape arithmetic remains on the host.
  Shape: ([x], { start, end }) => {
    if (!x.shape) return null
    const axes = x.shape.map((_, axis) => axis).slice(start, end)
    return dimSizes(x, axes[0] ?? 0, (axes.at(-1) ?? -1) + 1)
  },
  Size: ([x]) => (x.shape ? op.ReduceProd(dimSizes(x, 0, x.shape.length), [0], { keepdims: 0 }) : null),
  Flatten: ([x], { axis }) =>
    x.shape ? flatten(x, axis === x.shape.length ? axis : axisOf(axis, x.shape.length)) : null,
  SpaceToDepth: ([x], { blocksize }) => spaceToDepth(x, blocksize),
} satisfies Lowerings<typeof movement>

/**
 * Slice with negative steps, as a reversal of whole axes followed by a Slice with positive steps: index -1 - i becomes
 * i. With a step other than -1, or a start other than the end, onnxruntime's kernel starts at a wrong element. Null if
 * there is no negative step, or if whole axes are reversed, which is correct.
 */
function sliceForwards([x, starts, ends, axes, steps]: SliceInputs): Value | null {
  const given = knownNumbers(steps)
  if (!given?.some((step) => step < 0) || !x.shape) return null
  const named = axes ? knownNumbers(axes)?.map((axis) => axisOf(axis, x.shape!.length)) : given.map((_, axis) => axis)
  if (!named) return null
  const turned = named.flatMap((axis, i) => (given[i]! < 0 ? [axis] : []))
  if (reversesWholeAxes(given, knownNumbers(starts), knownNumbers(ends))) return null
  const back = turned.map(() => -1)
  const whole = op.Slice(
    x,
    back,
    turned.map(() => -endBound),
    turned,
    back,
  )
  const bounds = (list: Value, end: boolean) =>
    op.Concat(
      named.map((axis, i) => {
        // Bounds may be int32; lengths are int64.
        const bound = cast(op.Slice(list, [i], [i + 1]), 'int64')
        return given[i]! < 0 ? fromTheEnd(bound, lengthAlong(x, axis), end) : bound
      }),
      { axis: 0 },
    )
  return op.Slice(whole, bounds(starts, false), bounds(ends, true), named, given.map(Math.abs))
}

/** Whether every negative step is -1 over a whole axis. */
const reversesWholeAxes = (steps: readonly number[], starts?: readonly number[], ends?: readonly number[]): boolean =>
  steps.every(
    (step, i) => step > 0 || (step === -1 && starts?.[i] === -1 && ends?.[i] !== undefined && ends[i] <= -endBound),
  )

/**
 * A bound of a backward slice as an index on the reversed axis: a start is an element, an end at most one past the
 * last.
 */
function fromTheEnd(bound: Value, length: Value, end: boolean): Value {
  const place = op.Where(
    op.Less(bound, int64s([0])),
    op.Sub(int64s([-1]), bound),
    op.Sub(op.Sub(length, int64s([1])), bound),
  )
  const last = end ? length : op.Sub(length, int64s([1]))
  return op.Min([op.Max([place, int64s([0])]), last])
}

function centerCropPad(x: Value, shape: Value, axes: readonly number[] | undefined): Value | null {
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
  CenterCropPad: ([x, shape], { axes }) => centerCropPad(x, shape, axes),
} satisfies Lowerings<typeof slicing>

/** Operators that move elements but have no kernel for booleans, 8- and 16-bit integers and, some of them, int32. */
export const moveLowerings: Readonly<Record<string, AnyLowering>> = {
  Concat: viaFloat32('Concat', 'all', false),
  GatherElements: viaFloat32('GatherElements', [0], true),
  GatherND: viaFloat32('GatherND', [0], false),
  Pad: viaFloat32('Pad', [0, 2], false),
  ScatterElements: viaFloat32('ScatterElements', [0, 2], false),
  ScatterND: viaFloat32('ScatterND', [0, 2], false),
  Slice: viaFloat32('Slice', [0], true, (inputs) => sliceForwards(inputs as SliceInputs)),
  Split: viaFloat32('Split', [0], false),
  Squeeze: viaFloat32('Squeeze', [0], false),
  Tile: viaFloat32('Tile', [0], false),
  Transpose: viaFloat32('Transpose', [0], false),
  Trilu: viaFloat32('Trilu', [0], false),
}
