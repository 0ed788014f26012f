import { axisOf, type Dim, divDims, formatShape, mulDims, type Shape, unknownDim } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { knownNumbers, vectorLength } from '../contents.js'
import { type AttributesOf, type Call, define, float, int, ints, string } from '../define.js'
import { knownLength, product, size } from '../flops.js'

const attributes = {
  antialias: int(0),
  axes: ints.optional,
  coordinate_transformation_mode: string('half_pixel'),
  cubic_coeff_a: float(-0.75),
  exclude_outside: int(0),
  extrapolation_value: float(0),
  keep_aspect_ratio_policy: string('stretch'),
  mode: string('nearest'),
  nearest_mode: string('round_prefer_floor'),
}

export type ResizeAttributes = AttributesOf<typeof attributes>

const choices = {
  coordinate_transformation_mode: [
    'half_pixel',
    'half_pixel_symmetric',
    'pytorch_half_pixel',
    'align_corners',
    'asymmetric',
    'tf_crop_and_resize',
  ],
  keep_aspect_ratio_policy: ['stretch', 'not_larger', 'not_smaller'],
  mode: ['nearest', 'linear', 'cubic'],
  nearest_mode: ['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil'],
} as const

type Resize = Call<readonly ['x', 'roi?', 'scales?', 'sizes?'], typeof attributes>

/** The operand, or null for an empty tensor, which means absent in operator sets before 13. */
export const nullIfEmpty = (value: Value | null): Value | null =>
  value !== null && vectorLength(value) === 0 ? null : value

/** The requested factors or lengths; the other is null. Throws `invalid-model` if both or neither are present. */
export function resolveScales(
  scales: Value | null,
  sizes: Value | null,
): { scales: Value; sizes: null } | { scales: null; sizes: Value } {
  const [factors, lengths] = [nullIfEmpty(scales), nullIfEmpty(sizes)]
  if (factors !== null && lengths === null) return { scales: factors, sizes: null }
  if (lengths !== null && factors === null) return { scales: null, sizes: lengths }
  throw new OnnxIreError('invalid-model', 'needs either scales or sizes')
}

/** The resized axes, in the order of `scales` or `sizes`. Throws `invalid-shape` for invalid or repeated axes. */
export function resolveAxes(rank: number, axes: readonly number[] | undefined): readonly number[] {
  const named = axes?.map((axis) => axisOf(axis, rank)) ?? Array.from({ length: rank }, (_, axis) => axis)
  if (new Set(named).size < named.length)
    throw new OnnxIreError('invalid-shape', `axes [${named.join(', ')}] repeat themselves`)
  return named
}

function inferResize({ inputs: [x, roi, scales, sizes], attributes }: Resize): Shape | undefined {
  for (const [name, allowed] of Object.entries(choices)) {
    const value = attributes[name as keyof typeof choices]
    if (!(allowed as readonly string[]).includes(value))
      throw new OnnxIreError('unsupported-operator', `${name} '${value}' is none of ${allowed.join(', ')}`)
  }
  const by = resolveScales(scales, sizes)
  if (!x.shape) return undefined
  const axes = resolveAxes(x.shape.length, attributes.axes)
  const count = vectorLength(by.scales ?? by.sizes)
  if (count !== undefined && count !== axes.length)
    throw new OnnxIreError('invalid-shape', `${count} ${by.scales ? 'scales' : 'sizes'} for ${axes.length} axes`)
  const bounds = attributes.coordinate_transformation_mode === 'tf_crop_and_resize' ? nullIfEmpty(roi) : null
  const ends = bounds ? vectorLength(bounds) : undefined
  if (ends !== undefined && ends !== 2 * axes.length)
    throw new OnnxIreError('invalid-shape', `${ends} elements of roi for the starts and ends of ${axes.length} axes`)
  const lengths = axes.map((axis) => x.shape![axis]!)
  const resized = by.scales
    ? scaleLengths(lengths, knownNumbers(by.scales))
    : applySizes(lengths, by.sizes.contents, attributes.keep_aspect_ratio_policy)
  return x.shape.map((dim, axis) => (axes.includes(axis) ? resized[axes.indexOf(axis)]! : dim))
}

/** floor(length * scale) */
function scaleLengths(lengths: readonly Dim[], scales: readonly number[] | undefined): readonly Dim[] {
  if (scales?.some((scale) => !(scale > 0)))
    throw new OnnxIreError('invalid-shape', `scales ${formatShape(scales)} need to be positive`)
  return lengths.map((length, i) => {
    const scale = scales?.[i]
    if (scale === undefined) return unknownDim()
    if (typeof length === 'number') return Math.floor(Math.fround(length * scale))
    return Number.isInteger(scale)
      ? mulDims(length, scale)
      : Number.isInteger(1 / scale)
        ? divDims(length, 1 / scale)
        : unknownDim()
  })
}

/**
 * `sizes`, or the lengths by one scale for all axes: the largest that fits into `sizes`, or the smallest that covers
 * them.
 */
function applySizes(lengths: readonly Dim[], sizes: readonly Dim[] | undefined, policy: string): readonly Dim[] {
  if (!sizes) return lengths.map(unknownDim)
  if (sizes.some((size) => typeof size === 'number' && size < 0))
    throw new OnnxIreError('invalid-shape', `sizes ${formatShape(sizes)} are negative`)
  if (policy === 'stretch') return sizes
  const ratios = lengths.map((length, i) =>
    typeof length === 'number' && typeof sizes[i] === 'number' ? Math.fround(sizes[i] / length) : undefined,
  )
  if (!ratios.every((ratio) => ratio !== undefined)) return lengths.map(unknownDim)
  const scale = policy === 'not_larger' ? Math.min(...ratios) : Math.max(...ratios)
  return lengths.map((length) => Math.floor(Math.fround(scale * (length as number)) + 0.5))
}

/** Input elements along one axis from which an output element is interpolated. */
export const tapsPerAxis = (mode: string): number => (mode === 'nearest' ? 0 : mode === 'cubic' ? 4 : 2)

/** A weighted sum over the taps of all resized axes; antialiasing widens the sum where an axis shrinks. */
function resizeFlops(x: Value, y: Value, mode: string, antialias: boolean): number {
  if (!x.shape || !y.shape) return Number.NaN
  const ratios = y.shape.flatMap((dim, axis) =>
    dim === x.shape![axis] ? [] : [knownLength(x.shape![axis]) / knownLength(dim)],
  )
  return 2 * size(y) * product(ratios.map((ratio) => tapsPerAxis(mode) * (antialias ? Math.max(1, ratio) : 1)))
}

/** Resampling of any axes, https://onnx.ai/onnx/operators/onnx__Resize.html. */
export const resize = {
  Resize: define({
    inputs: ['x', 'roi?', 'scales?', 'sizes?'],
    attributes,
    since: 19,
    configInputs: ['roi', 'scales'],
    hostInputs: ['roi', 'scales', 'sizes'],
    flops: ([x], [y], { mode, antialias }) => (mode === 'nearest' ? 0 : resizeFlops(x, y!, mode, antialias === 1)),
    infer: (call) => ({ dtype: call.inputs[0].dtype, shape: inferResize(call) }),
  }),
}
