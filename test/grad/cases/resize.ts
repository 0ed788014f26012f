import { constant, int64s, tensorFrom } from '../../../src/ir/leaf.js'
import { op } from '../../../src/op/index.js'
import type { resize } from '../../../src/op/resize.js'
import { type Case, type Cases, shape } from './case.js'

type Attributes = Record<string, number | string | readonly number[]>

const common = { float32: 'Resize has no float64 kernel', linear: true }
const scaled = (name: string, x: readonly number[], scales: readonly number[], attributes: Attributes = {}): Case => ({
  ...common,
  name,
  operands: [shape(...x)],
  build: (x) => op.Resize(x!, null, constant(tensorFrom('float32', [scales.length], scales)), null, attributes),
})
const sized = (name: string, x: readonly number[], sizes: readonly number[], attributes: Attributes = {}): Case => ({
  ...common,
  name,
  operands: [shape(...x)],
  build: (x) => op.Resize(x!, null, null, int64s(sizes), attributes),
})

const coordinateModes = ['half_pixel', 'half_pixel_symmetric', 'pytorch_half_pixel', 'align_corners', 'asymmetric']
const nearestModes = ['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil']

export const resizeCases = {
  Resize: [
    ...coordinateModes.flatMap((coordinate_transformation_mode) => [
      ...nearestModes.flatMap((nearest_mode) => [
        scaled(`nearest, ${coordinate_transformation_mode}, ${nearest_mode}, twice`, [2, 2, 3, 4], [1, 1, 2, 2], {
          coordinate_transformation_mode,
          nearest_mode,
        }),
        scaled(`nearest, ${coordinate_transformation_mode}, ${nearest_mode}`, [1, 2, 5, 4], [1, 1, 0.7, 2.6], {
          coordinate_transformation_mode,
          nearest_mode,
        }),
      ]),
      scaled(`linear, ${coordinate_transformation_mode}, larger`, [1, 2, 3, 4], [1, 1, 2, 1.7], {
        mode: 'linear',
        coordinate_transformation_mode,
      }),
      sized(`linear, ${coordinate_transformation_mode}, smaller`, [1, 2, 6, 7], [1, 2, 4, 3], {
        mode: 'linear',
        coordinate_transformation_mode,
      }),
      scaled(`cubic, ${coordinate_transformation_mode}`, [1, 2, 4, 5], [1, 1, 2, 0.7], {
        mode: 'cubic',
        coordinate_transformation_mode,
      }),
    ]),
    sized('to a single element', [1, 2, 4, 5], [1, 2, 1, 1], {
      mode: 'linear',
      coordinate_transformation_mode: 'pytorch_half_pixel',
    }),
    sized('to a single element, align_corners', [1, 2, 4, 5], [1, 2, 1, 8], {
      mode: 'linear',
      coordinate_transformation_mode: 'align_corners',
    }),
    scaled('cubic with another coefficient', [1, 1, 4, 5], [1, 1, 1.5, 2], { mode: 'cubic', cubic_coeff_a: -0.5 }),
    scaled('cubic, neighbours outside left out', [1, 1, 4, 5], [1, 1, 2, 2], { mode: 'cubic', exclude_outside: 1 }),
    scaled('named axes', [2, 2, 3, 4], [2, 3], { axes: [3, 2] }),
    scaled('named axes, linear', [2, 2, 3, 4], [1.5, 3], { axes: [-2, -1], mode: 'linear' }),
    sized('sizes a multiple', [2, 3, 4, 3], [2, 3, 8, 9], {
      coordinate_transformation_mode: 'asymmetric',
      nearest_mode: 'floor',
    }),
    sized('not_larger', [1, 2, 4, 5], [7, 9], { axes: [2, 3], keep_aspect_ratio_policy: 'not_larger', mode: 'linear' }),
    sized('not_smaller', [1, 2, 4, 5], [7, 9], { axes: [2, 3], keep_aspect_ratio_policy: 'not_smaller' }),
    scaled('1-D', [2, 3, 5], [1, 1, 2], { mode: 'linear' }),
    scaled('channels nearest', [2, 3, 4, 2], [1, 2, 1.5, 1], {
      nearest_mode: 'floor',
      coordinate_transformation_mode: 'asymmetric',
    }),
    scaled('volume', [1, 2, 3, 2, 4], [1, 1, 2, 1.5, 0.5], { mode: 'linear' }),
  ],
} satisfies Cases<typeof resize>
