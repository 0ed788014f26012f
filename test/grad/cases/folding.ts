import type { folding } from '../../../src/op/definitions/pooling.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, integers, shape } from './case.js'

const fold = (
  name: string,
  x: readonly number[],
  image: readonly number[],
  block: readonly number[],
  attributes: Record<string, readonly number[]> = {},
): Case => ({
  name,
  float32: 'Col2Im',
  linear: true,
  operands: [shape(...x)],
  build: (x) => op.Col2Im(x!, image, block, attributes),
})

const unpool = { float32: 'MaxUnpool', linear: true }

export const foldingCases = {
  Col2Im: [
    fold('overlapping windows', [2, 12, 12], [4, 5], [2, 2]),
    fold('blocks side by side', [1, 8, 6], [4, 6], [2, 2], { strides: [2, 2] }),
    fold('pads, strides and dilations', [2, 6, 9], [6, 7], [2, 3], {
      pads: [1, 0, 1, 2],
      strides: [2, 3],
      dilations: [3, 1],
    }),
    fold('one axis', [2, 6, 4], [6], [3]),
    fold('three axes', [1, 16, 8], [3, 3, 3], [2, 2, 2]),
    fold('single taps', [2, 3, 6], [2, 3], [1, 1]),
    {
      name: 'an image of a size known when run',
      float32: 'Col2Im',
      linear: true,
      operands: [shape(2, 12, 12), integers([2], 4, 5)],
      build: (x, image) => op.Col2Im(x!, image!, [2, 2]),
    },
  ],
  MaxUnpool: [
    {
      name: 'windows side by side',
      ...unpool,
      operands: [shape(1, 2, 2, 2), integers([1, 2, 2, 2], 5, 3, 8, 15, 16, 22, 29, 30)],
      build: (x, indices) => op.MaxUnpool(x!, indices!, { kernel_shape: [2, 2], strides: [2, 2] }),
    },
    {
      name: 'to a given shape',
      ...unpool,
      operands: [shape(1, 1, 2, 2), integers([1, 1, 2, 2], 6, 8, 16, 18)],
      build: (x, indices) => op.MaxUnpool(x!, indices!, [1, 1, 5, 5], { kernel_shape: [2, 2], strides: [2, 2] }),
    },
    {
      name: 'one axis, pads',
      ...unpool,
      operands: [shape(2, 1, 3), integers([2, 1, 3], 0, 2, 4, 6, 7, 9)],
      build: (x, indices) => op.MaxUnpool(x!, indices!, { kernel_shape: [3], strides: [2], pads: [1, 1] }),
    },
  ],
} satisfies Cases<typeof folding>
