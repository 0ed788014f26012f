import type { convolution } from '../../../src/op/definitions/convolution.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, shape } from './case.js'

const float32 = 'Conv and ConvTranspose have no float64 kernels'
// Bilinear in data and weights: the square of the step cancels in a central difference, so that any step is exact.
type ConvAttributes = Parameters<typeof op.Conv>[3]
type TransposeAttributes = Parameters<typeof op.ConvTranspose>[3]

const conv = (
  name: string,
  x: readonly number[],
  w: readonly number[],
  attributes: ConvAttributes = {},
  bias?: number,
): Case => ({
  name,
  float32,
  linear: true,
  operands: [shape(...x), shape(...w), ...(bias === undefined ? [] : [shape(bias)])],
  build: (x, w, b) => op.Conv(x!, w!, b ?? null, attributes as object),
})

const knownWeights = (
  name: string,
  x: readonly number[],
  w: readonly number[],
  attributes: ConvAttributes = {},
): Case => ({
  ...conv(name, x, w, attributes),
  build: (x, weights) => op.Conv(x!, op.Reshape(weights!, w), null, attributes as object),
})

const transpose = (
  name: string,
  x: readonly number[],
  w: readonly number[],
  attributes: TransposeAttributes = {},
  bias?: number,
): Case => ({
  name,
  float32,
  linear: true,
  operands: [shape(...x), shape(...w), ...(bias === undefined ? [] : [shape(bias)])],
  build: (x, w, b) => op.ConvTranspose(x!, w!, b ?? null, attributes as object),
})

export const convolutionCases = {
  Conv: [
    conv('3x3', [2, 3, 6, 5], [4, 3, 3, 3]),
    // Wrong on WebGPU as it is: see src/lowering/webgpu/convolution.ts.
    conv('3x3, 9 channels, stride 2', [2, 9, 6, 5], [4, 9, 3, 3], { strides: [2, 2] }),
    conv('3x3 with pads and bias', [2, 3, 5, 6], [4, 3, 3, 3], { pads: [1, 1, 1, 1] }, 4),
    conv('3x3, stride 2 that divides', [2, 3, 7, 9], [2, 3, 3, 3], { strides: [2, 2], pads: [1, 1, 1, 1] }),
    conv('3x3, stride 2 that leaves a rest', [2, 3, 8, 6], [2, 3, 3, 3], { strides: [2, 2], pads: [1, 1, 1, 1] }),
    conv('stride 3 without pads leaves a rest', [2, 2, 9, 10], [3, 2, 2, 3], { strides: [3, 3] }),
    conv('stride longer than the kernel', [1, 2, 10, 11], [3, 2, 2, 1], { strides: [4, 3] }),
    conv('unequal pads, strides and dilations', [1, 2, 9, 11], [3, 2, 3, 2], {
      pads: [2, 0, 1, 3],
      strides: [2, 1],
      dilations: [1, 3],
    }),
    conv('dilation 2 and stride 3', [1, 2, 12, 13], [2, 2, 3, 3], {
      pads: [1, 2, 1, 2],
      strides: [3, 3],
      dilations: [2, 2],
    }),
    conv('pads longer than the kernel', [1, 2, 4, 4], [3, 2, 2, 2], { pads: [3, 2, 2, 3] }),
    conv('1-D, stride 2', [2, 3, 9], [4, 3, 3], { strides: [2], pads: [1, 1] }),
    conv('1-D, stride 4, zeros before the kernel', [2, 3, 19], [4, 3, 6], { strides: [4], pads: [2, 1] }, 4),
    conv('1-D, stride 4, x begins at another phase', [2, 3, 18], [4, 3, 7], { strides: [4], pads: [2, 3] }),
    conv('1-D, stride 2 that leaves a rest', [2, 3, 10], [4, 3, 5], { strides: [2] }),
    conv('1-D, stride longer than the kernel', [2, 3, 11], [4, 3, 2], { strides: [5] }),
    conv('1-D, stride 2, pads longer than the kernel', [2, 2, 5], [3, 2, 2], { strides: [2], pads: [3, 4] }),
    conv('1-D, stride 3, 2 groups', [2, 4, 14], [6, 2, 4], { strides: [3], pads: [1, 2], group: 2 }),
    conv('1-D, stride 2, depthwise', [2, 4, 13], [4, 1, 5], { strides: [2], pads: [2, 2], group: 4 }),
    conv('1-D, stride 2, many output channels', [1, 2, 6], [400, 2, 3], { strides: [2] }),
    conv('1-D, stride 80 of a long kernel', [1, 2, 300], [3, 2, 90], { strides: [80] }),
    // Enough channels for tiles of 2 x 2 or 4 x 4 windows in the weight gradient; lengths that tiles divide or not.
    conv('3x3 in tiles', [2, 12, 6, 4], [3, 12, 3, 3], { pads: [1, 1, 1, 1] }, 3),
    conv('3x3 in tiles with a rest', [2, 12, 5, 7], [14, 12, 3, 3], { pads: [1, 1, 1, 1] }),
    conv('3x3 in tiles, unequal pads', [2, 13, 6, 5], [3, 13, 3, 3], { pads: [0, 2, 1, 0] }),
    conv('3x3 in tiles without pads', [1, 12, 7, 6], [3, 12, 3, 3]),
    conv('3x3 in large tiles', [2, 12, 8, 12], [3, 12, 3, 3], { pads: [1, 1, 1, 1] }),
    conv('3x3 in large tiles with a rest', [2, 12, 9, 10], [3, 12, 3, 3], { pads: [2, 1, 1, 0] }),
    conv('3x3 in large tiles with a rest of 1', [1, 12, 13, 11], [3, 12, 3, 3]),
    // Enough channels for tiles in the input gradient.
    conv('3x3 of many channels', [2, 128, 6, 4], [128, 128, 3, 3], { pads: [1, 1, 1, 1] }),
    conv('3x3 of many channels with a rest', [1, 128, 5, 7], [130, 128, 3, 3], { pads: [0, 2, 1, 0] }),
    conv('3x3 of many channels, large images', [1, 96, 16, 20], [84, 96, 3, 3], { pads: [1, 1, 1, 1] }),
    conv('3x3 of many channels, large images with a rest', [2, 84, 17, 18], [96, 84, 3, 3], { pads: [2, 0, 1, 2] }),
    conv('1x1', [3, 4, 5, 6], [5, 4, 1, 1], {}, 5),
    conv('1x1, stride 2', [3, 4, 5, 6], [5, 4, 1, 1], { strides: [2, 2] }),
    conv('1x1 with pads', [2, 3, 4, 5], [4, 3, 1, 1], { pads: [1, 0, 0, 1] }),
    conv('1x1 over many windows', [2, 3, 26, 21], [4, 3, 1, 1]),
    conv('1x1, 2 groups', [2, 4, 3, 5], [6, 2, 1, 1], { group: 2 }),
    conv('3x3 over many windows', [2, 4, 26, 21], [4, 4, 3, 3], { pads: [1, 1, 1, 1] }),
    conv('2 groups', [2, 4, 6, 5], [6, 2, 3, 3], { group: 2, pads: [1, 1, 1, 1] }),
    conv('2 groups of many channels', [2, 8, 5, 6], [8, 4, 3, 3], { group: 2, pads: [1, 1, 1, 1], strides: [2, 2] }, 8),
    conv('depthwise 3x3', [2, 4, 6, 5], [4, 1, 3, 3], { group: 4, pads: [1, 1, 1, 1] }, 4),
    conv('2 groups over many windows', [1, 4, 26, 21], [4, 2, 3, 3], { group: 2, pads: [1, 1, 1, 1] }),
    conv('depthwise 3x3, stride 2', [2, 3, 8, 9], [3, 1, 3, 3], { group: 3, pads: [1, 1, 1, 1], strides: [2, 2] }),
    conv('depthwise 3x3, stride 2 over many windows', [1, 3, 50, 48], [3, 1, 3, 3], {
      group: 3,
      pads: [1, 1, 1, 1],
      strides: [2, 2],
    }),
    conv('depthwise 5x4, stride 2 along one axis', [2, 3, 8, 9], [3, 1, 5, 4], {
      group: 3,
      pads: [2, 1, 2, 2],
      strides: [2, 1],
    }),
    conv('depthwise with dilations', [2, 3, 9, 8], [3, 1, 3, 2], { group: 3, pads: [1, 2, 3, 0], dilations: [2, 3] }),
    conv('depthwise with pads longer than the kernel', [1, 3, 4, 4], [3, 1, 2, 2], { group: 3, pads: [0, 3, 1, 3] }),
    conv('depthwise, 1-D', [2, 3, 9], [3, 1, 4], { group: 3, pads: [1, 2] }),
    conv('depthwise, 3-D', [1, 2, 4, 5, 4], [2, 1, 2, 3, 2], { group: 2, pads: [0, 1, 1, 0, 1, 0] }),
    conv('depthwise 5x5, stride 2', [2, 3, 8, 9], [3, 1, 5, 5], { group: 3, pads: [2, 2, 2, 2], strides: [2, 2] }),
    conv('depthwise with 2 results per channel', [2, 3, 6, 5], [6, 1, 3, 3], {
      group: 3,
      pads: [1, 1, 1, 1],
      dilations: [2, 2],
      strides: [1, 2],
    }),
    conv('9x9', [1, 2, 10, 11], [2, 2, 9, 9], { pads: [2, 2, 2, 2] }),
    conv('1-D', [2, 3, 9], [4, 3, 3], { pads: [1, 2], strides: [2], dilations: [2] }, 4),
    conv('1-D, causal', [2, 3, 7], [4, 3, 3], { pads: [2, 0] }),
    conv('3-D', [1, 2, 5, 4, 6], [3, 2, 2, 3, 3], { pads: [0, 1, 1, 1, 1, 1], strides: [1, 2, 2] }),
    conv('3-D, 2 groups', [1, 4, 5, 4, 6], [4, 2, 2, 3, 2], { group: 2, pads: [0, 1, 1, 1, 1, 1] }),
    conv('SAME_UPPER', [1, 2, 7, 8], [3, 2, 4, 3], { auto_pad: 'SAME_UPPER' }),
    conv('SAME_UPPER, stride 2', [1, 2, 7, 8], [3, 2, 4, 3], { auto_pad: 'SAME_UPPER', strides: [2, 2] }),
    conv('SAME_LOWER, stride 3', [1, 2, 7, 8], [3, 2, 4, 5], { auto_pad: 'SAME_LOWER', strides: [3, 3] }),
    conv('SAME_UPPER, stride longer than the kernel', [1, 2, 7, 9], [3, 2, 1, 2], {
      auto_pad: 'SAME_UPPER',
      strides: [2, 4],
    }),
    // Data of any size, as models are published: weights of known shape, lengths that are known only at run time.
    knownWeights('1x1 with known weights', [3, 4, 5, 6], [5, 4, 1, 1]),
    knownWeights('3x3 with known weights', [2, 3, 5, 6], [4, 3, 3, 3], { pads: [1, 1, 1, 1] }),
    knownWeights('3x3 with known weights, stride 2', [2, 3, 8, 6], [2, 3, 3, 3], {
      strides: [2, 2],
      pads: [1, 1, 1, 1],
    }),
    knownWeights('2 groups with known weights, stride 3', [2, 4, 9, 10], [6, 2, 3, 3], { group: 2, strides: [3, 3] }),
    knownWeights('depthwise with known weights', [2, 3, 8, 9], [3, 1, 5, 5], { group: 3, pads: [2, 2, 2, 2] }),
    knownWeights('depthwise with known weights, stride 2', [2, 3, 8, 9], [3, 1, 3, 3], {
      group: 3,
      pads: [1, 1, 1, 1],
      strides: [2, 2],
    }),
    knownWeights('SAME_UPPER with known weights, stride 2', [1, 2, 7, 8], [3, 2, 4, 3], {
      auto_pad: 'SAME_UPPER',
      strides: [2, 2],
    }),
    knownWeights('3-D with known weights', [1, 2, 5, 4, 6], [3, 2, 2, 3, 3], {
      pads: [0, 1, 1, 1, 1, 1],
      strides: [1, 2, 2],
    }),
    conv('VALID', [1, 2, 7, 8], [3, 2, 4, 3], { auto_pad: 'VALID', strides: [2, 1] }),
  ],
  ConvTranspose: [
    // Wrong on WebGPU as it is: see src/lowering/webgpu/convolution.ts.
    transpose('2 groups of one output', [2, 4, 5, 4], [4, 1, 3, 3], { group: 2 }),
    transpose('3x3', [2, 3, 4, 5], [3, 2, 3, 3]),
    transpose('stride 2 with pads and bias', [2, 3, 4, 5], [3, 2, 3, 3], { strides: [2, 2], pads: [1, 1, 1, 1] }, 2),
    transpose('2x2, stride 2', [2, 3, 4, 5], [3, 2, 2, 2], { strides: [2, 2] }),
    transpose('output_padding', [2, 3, 4, 5], [3, 2, 3, 3], {
      strides: [2, 3],
      pads: [1, 1, 1, 1],
      output_padding: [1, 1],
    }),
    transpose('output_padding beyond the padding', [2, 3, 4, 5], [3, 2, 3, 2], {
      strides: [3, 3],
      pads: [1, 0, 1, 0],
      output_padding: [2, 2],
    }),
    transpose('dilations and unequal pads', [1, 3, 4, 5], [3, 2, 3, 2], {
      strides: [2, 1],
      dilations: [2, 3],
      pads: [1, 2, 0, 1],
    }),
    transpose('2 groups', [2, 4, 4, 5], [4, 3, 3, 3], { group: 2, strides: [2, 2], pads: [1, 1, 1, 1] }, 6),
    transpose('depthwise', [2, 3, 4, 5], [3, 1, 4, 4], { group: 3, strides: [2, 2], pads: [1, 1, 1, 1] }),
    {
      ...transpose('output_shape', [1, 3, 4, 5], [3, 2, 4, 3], { strides: [2, 2], output_shape: [9, 10] }),
      staticOnly: 'padding follows from the lengths',
    },
    {
      ...transpose('output_shape, SAME_UPPER', [1, 3, 4, 5], [3, 2, 4, 4], {
        strides: [2, 2],
        output_shape: [9, 9],
        auto_pad: 'SAME_UPPER',
      }),
      staticOnly: 'padding follows from the lengths',
    },
    {
      ...transpose('SAME_UPPER', [1, 3, 4, 5], [3, 2, 3, 4], { strides: [2, 2], auto_pad: 'SAME_UPPER' }),
      staticOnly: 'padding follows from the kernel',
    },
    {
      ...transpose('SAME_LOWER', [1, 3, 4, 5], [3, 2, 3, 4], { strides: [2, 1], auto_pad: 'SAME_LOWER' }),
      staticOnly: 'padding follows from the kernel',
    },
    transpose('SAME_UPPER, kernel_shape given', [1, 3, 4, 5], [3, 2, 3, 4], {
      strides: [2, 2],
      auto_pad: 'SAME_UPPER',
      kernel_shape: [3, 4],
    }),
    transpose('1-D', [2, 3, 6], [3, 2, 4], { strides: [2], pads: [1, 1] }, 2),
    transpose('3-D', [1, 2, 3, 3, 4], [2, 2, 2, 3, 3], { strides: [1, 2, 2], pads: [0, 1, 1, 0, 1, 1] }),
  ],
} satisfies Cases<typeof convolution>
