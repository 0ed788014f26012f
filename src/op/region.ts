import { type Dim, formatShape, type Shape, unknownDim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { OnnxIreError } from '../util/errors.js'
import { define, float, int, ints, string } from './define.js'
import { agreed } from './slicing.js'

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
      const regions = batch.shape ? agreed(count, batch.shape[0] ?? unknownDim()) : count
      return { dtype: x.dtype, shape: regionShape(x, regions, [output_height, output_width]) }
    },
  }),
  MaxRoiPool: define({
    inputs: ['x', 'rois'],
    attributes: { pooled_shape: ints.required, spatial_scale: float(1) },
    since: 1,
    infer: ({ inputs: [x, rois], attributes: { pooled_shape } }) => ({
      dtype: x.dtype,
      shape: regionShape(x, regionsOf(rois.shape, 5), [pooled_shape[0], pooled_shape[1]]),
    }),
  }),
}
