import { OnnxIreError } from '../../errors.js'
import { dtypes } from '../../ir/dtype.js'
import { int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/index.js'
import { knownNumbers } from '../../op/known.js'
import { type ResizeAttributes, type resize, resizedAxes, resizedBy } from '../../op/resize.js'
import type { Rules } from '../rule.js'
import { coordinatesOf, counting, type ResizedAxis } from './resize/coordinates.js'
import { repetitions, sumRepeated } from './resize/repetition.js'
import { tapsOf } from './resize/taps.js'

/** Interpolation weights of one axis as a matrix, float32 [output length, input length]: y = A x along the axis. */
function interpolation(axis: ResizedAxis, attributes: ResizeAttributes): Value {
  const coordinates = coordinatesOf(attributes.coordinate_transformation_mode, axis)
  const places = counting(axis.inputLength)
  const rows = tapsOf(coordinates, axis.inputLength, attributes).map(({ index, weight }) => {
    const here = op.Equal(op.Unsqueeze(index, [1]), places)
    return weight
      ? op.Where(here, op.Unsqueeze(weight, [1]), scalar('float32', 0))
      : op.Cast(here, { to: dtypes.float32.onnx })
  })
  return rows.reduce((a, b) => op.Add(a, b))
}

/** A^T dy along one axis. */
function alongAxis(dy: Value, a: Value, axis: number): Value {
  const rank = dy.shape!.length
  if (axis === rank - 1) return op.MatMul(dy, a)
  if (axis === rank - 2) return op.MatMul(op.Transpose(a, { perm: [1, 0] }), dy)
  const perm = Array.from({ length: rank }, (_, i) => (i === axis ? rank - 1 : i === rank - 1 ? axis : i))
  return op.Transpose(op.MatMul(op.Transpose(dy, { perm }), a), { perm })
}

const lengthAt = (x: Value, axis: number): Value =>
  op.Cast(op.Reshape(op.Shape(x, { start: axis, end: axis + 1 }), int64s([])), { to: dtypes.float32.onnx })

/** The axes that change, with their scales as float32 scalars. */
function changedAxes(
  x: Value,
  y: Value,
  scales: Value | null,
  sizes: Value | null,
  attributes: ResizeAttributes,
): readonly (ResizedAxis & { axis: number })[] {
  const axes = resizedAxes(x.shape!.length, attributes.axes)
  const by = resizedBy(scales, sizes)
  const known = knownNumbers(by.scales)
  const lengths = axes.map((axis) => ({ inputLength: lengthAt(x, axis), outputLength: lengthAt(y, axis) }))
  const factors = by.scales
    ? axes.map((_, i) => op.Gather(by.scales, scalar('int64', i)))
    : sizeFactors(by.sizes, lengths, attributes.keep_aspect_ratio_policy)
  return axes.flatMap((axis, i) => {
    const same = known
      ? known[i] === 1
      : attributes.keep_aspect_ratio_policy === 'stretch' && x.shape![axis] === y.shape?.[axis]
    return same ? [] : [{ axis, scale: factors[i]!, ...lengths[i]! }]
  })
}

/** size / length of every axis, or with an aspect ratio to keep the smallest or largest of them for all. */
function sizeFactors(
  sizes: Value,
  lengths: readonly { inputLength: Value; outputLength: Value }[],
  policy: string,
): readonly Value[] {
  const ratios = lengths.map(({ inputLength }, i) =>
    op.Div(op.Cast(op.Gather(sizes, scalar('int64', i)), { to: dtypes.float32.onnx }), inputLength),
  )
  if (policy === 'stretch') return ratios
  const one = policy === 'not_larger' ? op.Min(ratios) : op.Max(ratios)
  return ratios.map(() => one)
}

export const resizeRules = {
  // y = A x along every resized axis, so that dx = A^T dy.
  Resize: ([x, , scales, sizes], dy, { y, attributes }) => {
    const { antialias, coordinate_transformation_mode } = attributes
    if (antialias === 1 || coordinate_transformation_mode === 'tf_crop_and_resize' || !x.shape) {
      const what = !x.shape
        ? 'data with an unknown number of axes'
        : antialias === 1
          ? 'antialias = 1'
          : 'tf_crop_and_resize'
      throw new OnnxIreError(
        'not-differentiable',
        `Resize: no gradient is offered for ${what}; use another mode, or train only behind it`,
      )
    }
    const repeats = repetitions(x, y, scales, attributes)
    if (repeats) return [sumRepeated(dy, x, repeats), null, null, null]
    const dx = changedAxes(x, y, scales, sizes, attributes).reduceRight(
      (dy, axis) => alongAxis(dy, op.CastLike(interpolation(axis, attributes), dy), axis.axis),
      dy,
    )
    return [dx, null, null, null]
  },
} satisfies Rules<typeof resize>
