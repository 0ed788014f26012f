import { dtypes } from '../../../ir/dtype.js'
import { int64s, scalar } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { knownNumbers } from '../../../op/known.js'
import { op } from '../../../op/op.js'
import { given, type ResizeAttributes, resizedAxes, resizedBy } from '../../../op/resize.js'
import { OnnxIreError } from '../../../util/errors.js'
import type { ResizedAxis } from './coordinates.js'

/** An axis whose elements may change. */
export interface ChangedAxis extends ResizedAxis {
  readonly axis: number
  /** Bool scalar, where it takes running to know: the axis keeps its elements whatever its coordinates. */
  readonly kept?: Value
  /** Bool scalar, likewise: it keeps those that lie within the region. */
  readonly keptInRegion?: Value
}

interface Operands {
  readonly x: Value
  readonly y: Value
  readonly roi: Value | null
  readonly scales: Value | null
  readonly sizes: Value | null
}

/**
 * The axes that change. What onnxruntime copies is no interpolation: the whole tensor where all lengths stay, an axis with
 * scale 1, and with antialias (whose code also runs cubic with channels last) an axis whose length stays.
 */
export function changedAxes(
  { x, y, roi, scales, sizes }: Operands,
  attributes: Pick<
    ResizeAttributes,
    'antialias' | 'axes' | 'coordinate_transformation_mode' | 'keep_aspect_ratio_policy' | 'mode'
  >,
): readonly ChangedAxis[] {
  const crops = attributes.coordinate_transformation_mode === 'tf_crop_and_resize'
  const axes = resizedAxes(x.shape!.length, attributes.axes)
  const by = resizedBy(scales, sizes)
  const known = knownNumbers(by.scales)
  const stretches = by.sizes !== null && attributes.keep_aspect_ratio_policy === 'stretch'
  const lengths = axes.map((axis) => ({ inputLength: lengthAt(x, axis), outputLength: lengthAt(y, axis) }))
  const factors = by.scales
    ? axes.map((_, i) => op.Gather(by.scales, scalar('int64', i)))
    : sizeFactors(by.sizes, lengths, attributes.keep_aspect_ratio_policy)
  const stays = axes.map((axis, i) => lengthStays(x, y, axis, known?.[i]))
  if (stays.every((stays) => stays === true)) return []
  const equal = lengths.map(({ inputLength, outputLength }) => op.Equal(inputLength, outputLength))
  // Stretched to its own length an axis has scale 1, which all coordinates but a region's map to itself.
  const allStay =
    stays.includes(false) || (stretches && !crops)
      ? undefined
      : equal.filter((_, i) => stays[i] === undefined).reduce((a, b) => op.And(a, b))

  const unscaled = x.shape!.length === 4 && axes.includes(1) ? unscaledAt(axes.indexOf(1), known, stays) : true
  const copies = attributes.antialias === 1 || (attributes.mode === 'cubic' && unscaled === false)
  const stretched = attributes.antialias === 1 || attributes.mode === 'cubic'
  if (crops && stretched && unscaled !== true && !within(roi, axes.length))
    throw new OnnxIreError(
      'not-differentiable',
      "Resize: no gradient is offered for channels last with antialias or 'cubic' and a roi that may reach beyond the image, where " +
        'onnxruntime puts extrapolation_value in other places than ONNX says; transpose to channels first, or keep a constant roi in [0, 1)',
    )

  return axes.flatMap((axis, i) => {
    if (known ? known[i] === 1 : stretches && stays[i] === true) return []
    if (copies && !crops && stays[i] === true) return []
    const unscaled = crops && !known && stays[i] !== false ? op.Equal(factors[i]!, 1) : undefined
    const kept = unscaled && allStay ? op.Or(unscaled, allStay) : (unscaled ?? allStay)
    const keptInRegion = copies && stays[i] !== false ? equal[i] : undefined
    return {
      axis,
      scale: factors[i]!,
      ...lengths[i]!,
      ...(crops ? { region: regionOf(roi, i, axes.length) } : {}),
      ...(kept ? { kept } : {}),
      ...(keptInRegion ? { keptInRegion } : {}),
    }
  })
}

const lengthAt = (x: Value, axis: number): Value =>
  op.Cast(op.Reshape(op.Shape(x, { start: axis, end: axis + 1 }), int64s([])), { to: dtypes.float32.onnx })

/** Whether the length of an axis is the same before and after; undefined where only running tells. */
function lengthStays(x: Value, y: Value, axis: number, scale: number | undefined): boolean | undefined {
  const [before, after] = [x.shape![axis]!, y.shape?.[axis]]
  if (before === after || scale === 1) return true
  // From n elements a scale between 1 and 1 + 1/n makes n again.
  if ((typeof before === 'number' && typeof after === 'number') || (scale !== undefined && (scale < 1 || scale >= 2)))
    return false
  return undefined
}

/** Whether the i-th axis has scale 1; where axis 1 has not, onnxruntime takes images to be [N, H, W, C]. */
const unscaledAt = (
  i: number,
  known: readonly number[] | undefined,
  stays: readonly (boolean | undefined)[],
): boolean | undefined => (known ? known[i] === 1 : stays[i])

/** Whether no coordinate of a region can lie beyond an end, rounding included. */
function within(roi: Value | null, count: number): boolean {
  const bounds = given(roi)
  if (!bounds) return true
  const numbers = knownNumbers(bounds)
  return Array.from({ length: count }, (_, i) => [numbers?.[i] ?? -1, numbers?.[count + i] ?? -1] as const).every(
    ([start, end]) => (start === 0 && end === 1) || (start >= 0 && start < 1 && end >= 0 && end < 1),
  )
}

/** The i-th of `count` starts and ends; without them the axis from end to end. */
function regionOf(roi: Value | null, i: number, count: number): { start: Value; end: Value } {
  const bounds = given(roi)
  if (!bounds) return { start: scalar('float32', 0), end: scalar('float32', 1) }
  return { start: op.Gather(bounds, scalar('int64', i)), end: op.Gather(bounds, scalar('int64', count + i)) }
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
