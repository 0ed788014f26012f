import { type Dim, formatShape, type Shape, unknownDim } from '../../ir/shape.js'
import type { TensorType, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { vectorLength } from '../contents.js'
import { define, float, int, ints, string } from '../define.js'
import { biasFlops, lengthAt, product, size, unknownFlops } from '../flops.js'
import { type WindowAxis, windowOf, windowsAlong } from '../window.js'
import { kernelOf } from './convolution.js'
import { checkLengths, shapeFrom } from './movement.js'
import { tapsPerAxis } from './resize.js'
import { matchDims } from './slicing.js'

function oneOf(name: string, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value))
    throw new OnnxIreError('invalid-shape', `${name} '${value}' is none of ${allowed.join(', ')}`)
}

function gridSampled(x: Shape | undefined, grid: Shape | undefined): Shape | undefined {
  if (!x || !grid) return (x ?? grid)?.map(unknownDim)
  const points = grid.at(-1)
  if (x.length < 3 || grid.length !== x.length || (typeof points === 'number' && points !== x.length - 2)) {
    throw new OnnxIreError(
      'invalid-shape',
      `a grid ${formatShape(grid)} does not hold positions in data ${formatShape(x)}: needs [N, ..., ${x.length - 2}]`,
    )
  }
  return [matchDims(x[0]!, grid[0]!), x[1]!, ...grid.slice(1, -1)]
}

/** [N, d, d + 1] and a size [N, C, ...d lengths] -> [N, ...d lengths, d] */
function affineGridShape(theta: Shape | undefined, size: Value): Shape | undefined {
  const [n, , ...spatial] = checkLengths(shapeFrom(size)) ?? []
  const rank = vectorLength(size)
  if (theta && theta.length !== 3)
    throw new OnnxIreError('invalid-shape', `theta needs [N, d, d + 1], not ${formatShape(theta)}`)
  if (rank === undefined || n === undefined) return gridOf(theta)
  const d = rank - 2
  if (d !== 2 && d !== 3)
    throw new OnnxIreError('invalid-shape', `a size [N, C, H, W] or [N, C, D, H, W], not ${rank} lengths`)
  if (theta)
    for (const [length, wanted] of [
      [theta[1]!, d],
      [theta[2]!, d + 1],
    ] as const)
      matchDims(length, wanted)
  return [theta ? matchDims(theta[0]!, n) : n, ...spatial, d]
}

/** The grid's shape as far as theta determines it. */
const gridOf = (theta: Shape | undefined): Shape | undefined => {
  const [n, d] = theta ?? []
  return n !== undefined && typeof d === 'number' && d <= 3
    ? [n, ...Array.from({ length: d }, unknownDim), d]
    : undefined
}

const deformAttributes = {
  dilations: ints.optional,
  group: int(1),
  kernel_shape: ints.optional,
  offset_group: int(1),
  pads: ints.optional,
  strides: ints.optional,
}

interface DeformAttributes {
  readonly dilations?: readonly number[] | undefined
  readonly kernel_shape?: readonly number[] | undefined
  readonly pads?: readonly number[] | undefined
  readonly strides?: readonly number[] | undefined
}

/** The undeformed windows of a DeformConv. */
export const deformWindow = (x: Shape, w: Shape, attributes: DeformAttributes): readonly WindowAxis[] =>
  windowOf({ ...attributes, auto_pad: 'NOTSET' }, kernelOf(w, attributes.kernel_shape), x.slice(2))

function deformed(x: Value, w: Value, attributes: DeformAttributes): TensorType {
  if (!x.shape || !w.shape) return { dtype: x.dtype, shape: (x.shape ?? w.shape)?.map(unknownDim) }
  if (x.shape.length < 3 || w.shape.length !== x.shape.length)
    throw new OnnxIreError('invalid-shape', 'needs data [N, C, ...] and weights of equal rank of 3 or more')
  const window = deformWindow(x.shape, w.shape, attributes)
  const spatial = x.shape.slice(2).map((length: Dim, axis) => windowsAlong(length, window[axis]!, 'NOTSET'))
  return { dtype: x.dtype, shape: [x.shape[0]!, w.shape[0]!, ...spatial] }
}

/** The convolution, and every tap interpolated between four pixels and scaled by the mask. */
function deformFlops(x: Value, w: Value, bias: Value | null, mask: Value | null, y: Value): number {
  const windows = size(y) / lengthAt(y, 1)
  const kernel = product(w.shape?.slice(2))
  const sampled = windows * lengthAt(x, 1) * kernel * (mask ? 9 : 8)
  return sampled + 2 * size(y) * lengthAt(w, 1) * kernel + biasFlops(bias, y)
}

/** Operators that read tensors at fractional positions. */
export const sampling = {
  GridSample: define({
    inputs: ['x', 'grid'],
    attributes: { align_corners: int(0), mode: string('linear'), padding_mode: string('zeros') },
    since: 20,
    flops: ([x], [y], { mode }) =>
      mode === 'nearest' ? 0 : 2 * size(y!) * tapsPerAxis(mode) ** ((x.shape?.length ?? Number.NaN) - 2),
    infer: ({ inputs: [x, grid], attributes: { mode, padding_mode } }) => {
      oneOf('mode', mode, ['linear', 'nearest', 'cubic'])
      oneOf('padding_mode', padding_mode, ['zeros', 'border', 'reflection'])
      return { dtype: x.dtype, shape: gridSampled(x.shape, grid.shape) }
    },
  }),
  AffineGrid: define({
    inputs: ['theta', 'size'],
    attributes: { align_corners: int(0) },
    since: 20,
    flops: ([theta], [y]) => 2 * size(y!) * (lengthAt(theta, 2) - 1),
    infer: ({ inputs: [theta, size] }) => ({ dtype: theta.dtype, shape: affineGridShape(theta.shape, size) }),
  }),
  DeformConv: define({
    inputs: ['x', 'w', 'offset', 'b?', 'mask?'],
    attributes: deformAttributes,
    since: 19,
    flops: ([x, w, , b, mask], [y]) => deformFlops(x, w, b, mask, y!),
    infer: ({ inputs: [x, w], attributes }) => deformed(x, w, attributes),
  }),
}

function regionShape(x: Value, regions: Dim, pooled: readonly (number | undefined)[]): Shape {
  if (x.shape && x.shape.length !== 4)
    throw new OnnxIreError('invalid-shape', `needs data [N, C, H, W], not ${formatShape(x.shape)}`)
  if (!pooled.every((length) => Number.isInteger(length) && length! >= 1))
    throw new OnnxIreError('invalid-shape', `the pooled size [${pooled.join(', ')}] needs positive lengths`)
  return [regions, x.shape?.[1] ?? unknownDim(), ...(pooled as readonly number[])]
}

function regionsOf(rois: Shape | undefined, columns: number): Dim {
  if (rois && (rois.length !== 2 || (typeof rois[1] === 'number' && rois[1] !== columns)))
    throw new OnnxIreError('invalid-shape', `regions need [count, ${columns}], not ${formatShape(rois)}`)
  return rois?.[0] ?? unknownDim()
}

/**
 * Pools over regions of images. Neither is written in operator set 22: onnxruntime 1.30 has kernels for the forms of 16
 * and 1 only, which the graph's operator set must not exceed.
 */
export const region = {
  RoiAlign: define({
    inputs: ['x', 'rois', 'batch_indices'],
    attributes: {
      coordinate_transformation_mode: string('half_pixel'),
      mode: string('avg'),
      output_height: int(1),
      output_width: int(1),
      sampling_ratio: int(0),
      spatial_scale: float(1),
    },
    since: 16,
    // Without a ratio the number of sampled points depends on the regions.
    flops: (_, [y], { sampling_ratio: ratio }) => (ratio > 0 ? 9 * ratio * ratio * size(y!) : Number.NaN),
    infer: ({ inputs: [x, rois, batch], attributes }) => {
      const { mode, coordinate_transformation_mode: coordinates, output_height, output_width } = attributes
      if (!['avg', 'max'].includes(mode)) throw new OnnxIreError('invalid-shape', `mode '${mode}' is none of avg, max`)
      if (!['half_pixel', 'output_half_pixel'].includes(coordinates)) {
        throw new OnnxIreError(
          'invalid-shape',
          `coordinate_transformation_mode '${coordinates}' is none of half_pixel, output_half_pixel`,
        )
      }
      const count = regionsOf(rois.shape, 4)
      const regions = batch.shape ? matchDims(count, batch.shape[0] ?? unknownDim()) : count
      return { dtype: x.dtype, shape: regionShape(x, regions, [output_height, output_width]) }
    },
  }),
  MaxRoiPool: define({
    inputs: ['x', 'rois'],
    attributes: { pooled_shape: ints.required, spatial_scale: float(1) },
    since: 1,
    flops: unknownFlops,
    infer: ({ inputs: [x, rois], attributes: { pooled_shape } }) => ({
      dtype: x.dtype,
      shape: regionShape(x, regionsOf(rois.shape, 5), [pooled_shape[0], pooled_shape[1]]),
    }),
  }),
}
