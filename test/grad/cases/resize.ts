import { constant, int64s, tensorFrom } from '../../../src/ir/leaf.js'
import type { resize } from '../../../src/op/definitions/resize.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, shape } from './case.js'

type Attributes = Record<string, number | string | readonly number[]>

const float32s = (values: readonly number[]) => constant(tensorFrom('float32', [values.length], values))
const common = { float32: 'Resize has no float64 kernel', linear: true }
const scaled = (name: string, x: readonly number[], scales: readonly number[], attributes: Attributes = {}): Case => ({
  ...common,
  name,
  operands: [shape(...x)],
  build: (x) => op.Resize(x!, null, float32s(scales), null, attributes),
})
const sized = (name: string, x: readonly number[], sizes: readonly number[], attributes: Attributes = {}): Case => ({
  ...common,
  name,
  operands: [shape(...x)],
  build: (x) => op.Resize(x!, null, null, int64s(sizes), attributes),
})

/** A region given while running: one start for every axis, then one end for every axis. */
const cropped = (
  name: string,
  x: readonly number[],
  sizes: readonly number[],
  roi: readonly number[],
  attributes: Attributes,
): Case => ({
  ...common,
  name,
  operands: [shape(...x), { shape: [roi.length], values: roi, fixed: true }],
  build: (x, roi) =>
    op.Resize(x!, roi!, null, int64s(sizes), { coordinate_transformation_mode: 'tf_crop_and_resize', ...attributes }),
})
/** The same, the region a constant and the factors known. */
const croppedBy = (
  name: string,
  x: readonly number[],
  scales: readonly number[],
  roi: readonly number[],
  attributes: Attributes,
): Case => ({
  ...common,
  name,
  operands: [shape(...x)],
  build: (x) =>
    op.Resize(x!, float32s(roi), float32s(scales), null, {
      coordinate_transformation_mode: 'tf_crop_and_resize',
      ...attributes,
    }),
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
    scaled('cubic, neighbors outside left out', [1, 1, 4, 5], [1, 1, 2, 2], { mode: 'cubic', exclude_outside: 1 }),
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
    ...(['linear', 'cubic'] as const).flatMap((mode) => [
      ...coordinateModes.map((coordinate_transformation_mode) =>
        scaled(`antialias, ${mode}, ${coordinate_transformation_mode}`, [1, 2, 7, 6], [1, 1, 0.35, 0.6], {
          antialias: 1,
          mode,
          coordinate_transformation_mode,
        }),
      ),
      scaled(`antialias, ${mode}, neighbors outside left out`, [2, 1, 7, 6], [1, 1, 0.4, 0.5], {
        antialias: 1,
        mode,
        exclude_outside: 1,
      }),
      sized(`antialias, ${mode}, one axis larger`, [1, 2, 6, 4], [3, 9], { antialias: 1, mode, axes: [2, 3] }),
      sized(`antialias, ${mode}, two axes`, [7, 5], [3, 2], { antialias: 1, mode }),
      sized(`antialias, ${mode}, channels last`, [1, 6, 5, 2], [1, 3, 2, 2], { antialias: 1, mode }),
      sized(`antialias, ${mode}, aspect ratio kept`, [1, 2, 7, 5], [3, 4], {
        antialias: 1,
        mode,
        axes: [2, 3],
        keep_aspect_ratio_policy: 'not_larger',
      }),
      // 1.2 makes 4 of 4 elements: with antialias they stay as they are.
      scaled(`antialias, ${mode}, a scale that leaves the length`, [1, 2, 6, 4], [1, 1, 0.5, 1.2], {
        antialias: 1,
        mode,
      }),
      cropped(`antialias, ${mode}, region`, [1, 2, 7, 6], [3, 2], [0.1, -0.2, 0.8, 0.7], {
        antialias: 1,
        mode,
        axes: [2, 3],
      }),
      croppedBy(`region, ${mode}, channels last`, [1, 4, 5, 2], [1, 1.5, 2, 1], [0, 0.2, 0.1, 0, 1, 0.9, 0.8, 1], {
        mode,
      }),
    ]),
    scaled('antialias, cubic with another coefficient', [1, 1, 8, 5], [1, 1, 0.4, 0.7], {
      antialias: 1,
      mode: 'cubic',
      cubic_coeff_a: -0.5,
    }),
    sized('antialias, volume', [1, 2, 5, 4, 6], [1, 2, 2, 3, 3], { antialias: 1, mode: 'linear' }),
    ...(['nearest', 'linear', 'cubic'] as const).flatMap((mode) => [
      cropped(`region, ${mode}`, [2, 2, 5, 6], [4, 7], [0.2, 0.1, 0.9, 0.6], { mode, axes: [2, 3] }),
      cropped(`region beyond the ends, ${mode}`, [1, 2, 5, 4], [6, 7], [-0.3, 0.2, 0.8, 1.4], {
        mode,
        axes: [2, 3],
        extrapolation_value: 2.5,
      }),
      cropped(`region back to front, ${mode}`, [1, 2, 5, 4], [3, 6], [0.9, 1, 0.1, 0.2], { mode, axes: [2, 3] }),
      cropped(`region, ${mode}, to a single element`, [1, 2, 5, 4], [1, 3], [0.2, 0.1, 0.7, 0.9], {
        mode,
        axes: [-2, -1],
      }),
      croppedBy(`constant region, ${mode}`, [1, 2, 5, 4], [1.5, 0.8], [0.1, -0.1, 0.8, 0.9], { mode, axes: [3, 2] }),
      // An axis whose length stays is not cropped, and where all stay nothing is.
      cropped(`region, ${mode}, lengths that stay`, [1, 2, 5, 4], [5, 4], [0.2, 0.1, 0.9, 0.6], { mode, axes: [2, 3] }),
      cropped(`region, ${mode}, one length that stays`, [1, 2, 5, 4], [5, 2], [0.2, 0.1, 0.9, 0.6], {
        mode,
        axes: [2, 3],
      }),
      scaled(`${mode}, a scale that leaves all lengths`, [1, 2, 4, 3], [1, 1, 1.2, 1.1], { mode }),
      scaled(`${mode}, a scale that leaves one length`, [1, 2, 4, 5], [1, 1, 1.2, 1.7], { mode }),
    ]),
    ...(['nearest', 'linear'] as const).map((mode) =>
      cropped(`region of all axes, ${mode}`, [1, 2, 5, 4], [1, 2, 5, 2], [0, 0, 0.2, 0.1, 1, 1, 0.9, 0.6], { mode }),
    ),
    croppedBy('region of a volume', [1, 1, 3, 4, 3], [1, 1, 2, 0.5, 1.4], [0, 0, 0.2, -0.1, 0, 1, 1, 0.9, 0.8, 1.2], {
      mode: 'linear',
    }),
    cropped('region of a line', [6], [4], [-0.2, 0.7], { extrapolation_value: 1 }),
    cropped('region of three axes', [3, 4, 5], [5, 3, 4], [0.1, 0, -0.3, 0.9, 1, 1], { mode: 'linear' }),
    // Coordinates a rounding error away from the middle between two elements count as halfway.
    ...nearestModes.map((nearest_mode) =>
      sized(`nearest halfway, ${nearest_mode}`, [14], [16], {
        nearest_mode,
        coordinate_transformation_mode: 'asymmetric',
      }),
    ),
    // In float32 this coordinate would fall below a whole number.
    sized('nearest, symmetric, a whole coordinate', [6], [2], {
      nearest_mode: 'floor',
      coordinate_transformation_mode: 'half_pixel_symmetric',
    }),
    sized('not_smaller, cubic', [1, 2, 4, 5], [7, 9], {
      axes: [2, 3],
      keep_aspect_ratio_policy: 'not_smaller',
      mode: 'cubic',
      exclude_outside: 1,
    }),
    sized('channels last, cubic', [1, 3, 4, 2], [1, 5, 7, 2], { mode: 'cubic' }),
    scaled('volume', [1, 2, 3, 2, 4], [1, 1, 2, 1.5, 0.5], { mode: 'linear' }),
  ],
} satisfies Cases<typeof resize>
