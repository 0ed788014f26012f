import type { pooling } from '../../../src/op/definitions/pooling.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, shape } from './case.js'

const float32 = 'the pool has no float64 kernel'
type Attributes = { kernel_shape: readonly number[] } & Record<string, number | string | readonly number[]>

const max = (name: string, x: readonly number[], attributes: Attributes): Case => ({
  name,
  operands: [{ shape: x, distinct: true }],
  build: (x) => op.MaxPool(x!, attributes)[0],
})
const average = (name: string, x: readonly number[], attributes: Attributes): Case => ({
  name,
  float32,
  linear: true,
  operands: [shape(...x)],
  build: (x) => op.AveragePool(x!, attributes),
})
const lp = (name: string, x: readonly number[], attributes: Attributes): Case => ({
  name,
  float32,
  operands: [shape(...x)],
  build: (x) => op.LpPool(x!, attributes),
})

export const poolingCases = {
  MaxPool: [
    max('windows side by side', [2, 3, 6, 4], { kernel_shape: [2, 2], strides: [2, 2] }),
    max('SAME_UPPER, a stride above the kernel', [1, 2, 6], {
      kernel_shape: [1],
      strides: [4],
      auto_pad: 'SAME_UPPER',
    }),
    max('overlapping windows with pads', [2, 2, 7, 8], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }),
    max('ceil_mode', [1, 2, 6, 7], { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 }),
    max('dilations', [1, 2, 7, 8], { kernel_shape: [2, 3], dilations: [2, 3] }),
    max('SAME_UPPER', [1, 2, 7, 8], { kernel_shape: [3, 2], strides: [2, 2], auto_pad: 'SAME_UPPER' }),
    max('SAME_LOWER', [1, 2, 7, 8], { kernel_shape: [3, 2], strides: [2, 2], auto_pad: 'SAME_LOWER' }),
    max('column-major indices', [1, 2, 6, 8], { kernel_shape: [3, 2], strides: [2, 2], storage_order: 1 }),
    max('1-D', [2, 3, 9], { kernel_shape: [3], strides: [2] }),
    max('3-D', [1, 2, 4, 5, 4], { kernel_shape: [2, 2, 3], strides: [2, 1, 1] }),
  ],
  AveragePool: [
    average('windows side by side', [2, 3, 6, 4], { kernel_shape: [2, 2], strides: [2, 2] }),
    average('windows side by side leave a rest', [2, 3, 7, 5], { kernel_shape: [2, 2], strides: [2, 2] }),
    average('overlapping windows', [2, 3, 6, 5], { kernel_shape: [3, 2] }),
    average('pads left out of the count', [2, 2, 7, 6], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }),
    average('pads counted', [2, 2, 7, 6], {
      kernel_shape: [3, 3],
      strides: [2, 2],
      pads: [1, 1, 1, 1],
      count_include_pad: 1,
    }),
    average('unequal pads', [2, 2, 7, 6], { kernel_shape: [3, 4], strides: [2, 1], pads: [2, 0, 1, 3] }),
    average('ceil_mode', [1, 2, 6, 8], { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 }),
    average('ceil_mode, pads counted', [1, 2, 6, 8], {
      kernel_shape: [3, 3],
      strides: [2, 2],
      pads: [0, 1, 0, 0],
      ceil_mode: 1,
      count_include_pad: 1,
    }),
    average('ceil_mode, pads left out of the count', [1, 2, 6, 9], {
      kernel_shape: [3, 2],
      strides: [3, 2],
      pads: [1, 0, 1, 1],
      ceil_mode: 1,
    }),
    average('dilations', [1, 2, 8, 9], {
      kernel_shape: [2, 3],
      dilations: [2, 3],
      strides: [1, 2],
      pads: [1, 1, 1, 1],
    }),
    average('SAME_UPPER', [1, 2, 7, 8], { kernel_shape: [3, 2], auto_pad: 'SAME_UPPER' }),
    average('SAME_UPPER, stride 2', [1, 2, 7, 8], { kernel_shape: [4, 3], strides: [2, 2], auto_pad: 'SAME_UPPER' }),
    average('SAME_LOWER, stride 2, pads counted', [1, 2, 7, 8], {
      kernel_shape: [4, 3],
      strides: [2, 2],
      auto_pad: 'SAME_LOWER',
      count_include_pad: 1,
    }),
    average('1-D', [2, 3, 9], { kernel_shape: [3], strides: [2] }),
    average('3-D', [1, 2, 4, 5, 4], { kernel_shape: [2, 2, 3], strides: [2, 1, 1], pads: [0, 1, 1, 0, 0, 1] }),
  ],
  LpPool: [
    lp('2-norm', [2, 2, 6, 7], { kernel_shape: [3, 2], strides: [2, 2] }),
    lp('1-norm with pads', [1, 2, 5, 6], { kernel_shape: [3, 3], pads: [1, 1, 1, 1], p: 1 }),
    lp('3-norm', [1, 2, 5, 6], { kernel_shape: [2, 2], p: 3 }),
    lp('ceil_mode, a window after the data is dropped', [1, 2, 6], { kernel_shape: [2], strides: [3], ceil_mode: 1 }),
    lp('ceil_mode with pads', [1, 2, 6, 7], {
      kernel_shape: [3, 3],
      strides: [3, 2],
      pads: [2, 0, 2, 1],
      ceil_mode: 1,
    }),
  ],
  GlobalAveragePool: [
    { name: '2-D', float32, linear: true, operands: [shape(2, 3, 4, 5)], build: (x) => op.GlobalAveragePool(x!) },
    { name: '1-D', float32, linear: true, operands: [shape(2, 3, 4)], build: (x) => op.GlobalAveragePool(x!) },
    { name: '3-D', float32, linear: true, operands: [shape(2, 3, 4, 2, 3)], build: (x) => op.GlobalAveragePool(x!) },
    { name: 'large', float32, linear: true, operands: [shape(2, 2, 16, 17)], build: (x) => op.GlobalAveragePool(x!) },
  ],
  GlobalMaxPool: [
    { name: '2-D', float32, operands: [{ shape: [2, 3, 4, 5], distinct: true }], build: (x) => op.GlobalMaxPool(x!) },
    { name: '1-D', float32, operands: [{ shape: [2, 3, 4], distinct: true }], build: (x) => op.GlobalMaxPool(x!) },
  ],
  GlobalLpPool: [
    { name: '1-norm', float32, operands: [shape(2, 3, 4, 5)], build: (x) => op.GlobalLpPool(x!, { p: 1 }) },
    { name: '2-norm', float32, operands: [shape(2, 3, 4, 5)], build: (x) => op.GlobalLpPool(x!) },
    { name: '3-norm', float32, operands: [shape(2, 3, 4)], build: (x) => op.GlobalLpPool(x!, { p: 3 }) },
  ],
} satisfies Cases<typeof pooling>
