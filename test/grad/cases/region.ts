import type { region } from '../../../src/op/definitions/sampling.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, type Operand, shape } from './case.js'

/** Regions within images of 7 x 9, one reaching beyond, one tiny. */
const corners = [1.13, 0.74, 6.27, 5.39, 3.41, 2.23, 11.17, 8.31, 2.31, 3.17, 2.73, 3.59]
const regions: Operand = { shape: [3, 4], values: corners }
const images: Operand = { shape: [3], dtype: 'int64', values: [1, 0, 1] }

const align = (name: string, attributes: Record<string, number | string>, x: Operand = shape(2, 3, 7, 9)): Case => ({
  name,
  operands: [x, regions, images],
  build: (x, rois, batch) => op.RoiAlign(x!, rois!, batch!, { output_height: 2, output_width: 3, ...attributes }),
})

const pool = (name: string, rois: readonly number[], pooled_shape: readonly number[], spatial_scale: number): Case => ({
  name,
  float32: 'MaxRoiPool',
  operands: [
    { shape: [2, 3, 6, 8], distinct: true },
    { shape: [rois.length / 5, 5], values: rois, fixed: true },
  ],
  build: (x, rois) => op.MaxRoiPool(x!, rois!, { pooled_shape, spatial_scale }),
})

export const regionCases = {
  RoiAlign: [
    align('as many samples as elements', {}),
    align('two samples along each axis', { sampling_ratio: 2 }),
    align('whole pixels', { coordinate_transformation_mode: 'output_half_pixel' }),
    align('whole pixels, one sample', { coordinate_transformation_mode: 'output_half_pixel', sampling_ratio: 1 }),
    align('another scale', { spatial_scale: 0.625, sampling_ratio: 3 }),
    align('maximum', { mode: 'max', sampling_ratio: 2 }, { shape: [2, 3, 7, 9], distinct: true }),
    align('maximum of as many samples as elements', { mode: 'max' }, { shape: [2, 3, 7, 9], distinct: true }),
  ],
  MaxRoiPool: [
    pool('bins that overlap', [1, 0, 0, 4, 3, 0, 2, 1, 7, 5, 0, 3, 3, 3, 3], [2, 3], 1),
    pool('a region beyond the image', [0, 4, 3, 14, 9, 1, 6, 4, 19, 13], [3, 3], 1),
    pool('another scale', [1, 3, 2, 13, 9, 0, 0, 1, 6, 11], [2, 2], 0.5),
  ],
} satisfies Cases<typeof region>
