import { constant, int64s, scalar, tensorFrom } from '../../../src/ir/leaf.js'
import type { Value } from '../../../src/ir/value.js'
import type { slicing } from '../../../src/op/definitions/slicing.js'
import { op } from '../../../src/op/op.js'
import { type Cases, ints, shape } from './case.js'

const int32s = (...values: readonly number[]): Value => constant(tensorFrom('int32', [values.length], values))
const toEnd = 2 ** 63
const toFront = -(2 ** 63)

export const slicingCases = {
  Concat: [
    {
      name: 'along the first axis',
      operands: [shape(2, 3), shape(1, 3), shape(4, 3)],
      build: (...x) => op.Concat(x, { axis: 0 }),
    },
    {
      name: 'along the last axis',
      operands: [shape(2, 2, 3), shape(2, 2, 1)],
      build: (...x) => op.Concat(x, { axis: -1 }),
    },
    { name: 'of a tensor with itself', operands: [shape(2, 3)], build: (x) => op.Concat([x!, x!], { axis: -2 }) },
    { name: 'of one', operands: [shape(2, 3)], build: (x) => op.Concat([x!], { axis: 1 }) },
    {
      name: 'with an empty one',
      operands: [shape(2, 3), { shape: [0, 3], values: [], fixed: true }],
      build: (...x) => op.Concat(x, { axis: 0 }),
    },
  ],
  Split: [
    { name: 'into given parts', operands: [shape(2, 6)], build: (x) => op.Split(x!, [1, 3, 2], { axis: 1 }) },
    { name: 'into equal parts', operands: [shape(4, 3)], build: (x) => op.Split(x!, null, { num_outputs: 2 }) },
    {
      name: 'with a smaller last part',
      operands: [shape(2, 7)],
      build: (x) => op.Split(x!, null, { axis: -1, num_outputs: 3 }),
    },
    { name: 'of which one is used', operands: [shape(2, 6)], build: (x) => op.Split(x!, [1, 3, 2], { axis: -1 })[1]! },
    {
      name: 'into parts known when run',
      operands: [shape(2, 6), ints(4, 2)],
      build: (x, sizes) => op.Split(x!, sizes!, { axis: 1 }),
      staticOnly: 'the number of parts',
    },
  ],
  Slice: [
    { name: 'a range of one axis', operands: [shape(5, 3)], build: (x) => op.Slice(x!, [1], [4]) },
    { name: 'to the end', operands: [shape(2, 5)], build: (x) => op.Slice(x!, [2], [toEnd], [1]) },
    { name: 'to the end but one', operands: [shape(2, 5)], build: (x) => op.Slice(x!, [0], [-1], [-1]) },
    { name: 'the last two', operands: [shape(2, 5)], build: (x) => op.Slice(x!, [-2], [toEnd], [1]) },
    { name: 'beyond the end', operands: [shape(3, 2)], build: (x) => op.Slice(x!, [-9], [100], [0]) },
    { name: 'two axes', operands: [shape(4, 5, 3)], build: (x) => op.Slice(x!, [1, 0], [3, 2], [2, 0]) },
    { name: 'every second', operands: [shape(2, 7)], build: (x) => op.Slice(x!, [0], [toEnd], [1], [2]) },
    { name: 'every third from the second', operands: [shape(8, 2)], build: (x) => op.Slice(x!, [1], [7], [0], [3]) },
    {
      name: 'one element, by a step of 1e9',
      operands: [shape(2, 7)],
      build: (x) => op.Slice(x!, [3], [toEnd], [1], [1e9]),
    },
    { name: 'backwards', operands: [shape(2, 4)], build: (x) => op.Slice(x!, [-1], [toFront], [1], [-1]) },
    {
      name: 'backwards from before the start',
      operands: [shape(4, 2)],
      build: (x) => op.Slice(x!, [-9], [toFront], [0], [-1]),
    },
    { name: 'every second, backwards', operands: [shape(7, 2)], build: (x) => op.Slice(x!, [5], [0], [0], [-2]) },
    {
      name: 'backwards and forwards',
      operands: [shape(5, 6)],
      build: (x) => op.Slice(x!, [-1, 1], [toFront, toEnd], [0, 1], [-2, 3]),
    },
    { name: 'nothing', operands: [shape(3, 2)], build: (x) => op.Concat([op.Slice(x!, [2], [1]), x!], { axis: 0 }) },
    {
      name: 'bounds known when run',
      operands: [shape(4, 5), ints(-3, 1), ints(4, 9)],
      build: (x, starts, ends) => op.Slice(x!, starts!, ends!),
    },
    {
      name: 'steps known when run',
      operands: [shape(4, 5), ints(1, -1), ints(4, -9), ints(1, -2)],
      build: (x, starts, ends, steps) => op.Slice(x!, starts!, ends!, [0, 1], steps!),
    },
    {
      name: 'axes known when run',
      operands: [shape(4, 5), ints(-1)],
      build: (x, axes) => op.Slice(x!, [1], [3], axes!),
    },
    { name: 'bounds of type int32', operands: [shape(5, 2)], build: (x) => op.Slice(x!, int32s(1), int32s(4)) },
    {
      name: 'bounds of type int32, backwards',
      operands: [shape(5, 2)],
      build: (x) => op.Slice(x!, int32s(-2), int32s(-99), int32s(0), int32s(-2)),
    },
  ],
  Pad: [
    { name: 'with zeros', operands: [shape(2, 3)], build: (x) => op.Pad(x!, [0, 1, 0, 2]) },
    { name: 'with a value', operands: [shape(2, 3), shape()], build: (x, value) => op.Pad(x!, [1, 0, 1, 1], value!) },
    { name: 'cropping', operands: [shape(4, 5)], build: (x) => op.Pad(x!, [-1, 2, 1, -2]) },
    {
      name: 'cropping with a value',
      operands: [shape(4, 5), shape(1)],
      build: (x, value) => op.Pad(x!, [1, -1, -2, 2], value!),
    },
    { name: 'named axes', operands: [shape(2, 3, 2)], build: (x) => op.Pad(x!, [1, 0, 2, 1], null, [-1, 1]) },
    { name: 'pads known when run', operands: [shape(2, 3), ints(1, 0, -1, 2)], build: (x, pads) => op.Pad(x!, pads!) },
    {
      name: 'reflect',
      operands: [shape(3, 4)],
      build: (x) => op.Pad(x!, [1, 2, 2, 3], null, null, { mode: 'reflect' }),
    },
    { name: 'edge', operands: [shape(3, 2)], build: (x) => op.Pad(x!, [1, 0, 2, 3], null, null, { mode: 'edge' }) },
    { name: 'wrap', operands: [shape(3, 4)], build: (x) => op.Pad(x!, [1, 2, 2, 3], null, null, { mode: 'wrap' }) },
    {
      name: 'reflect on a named axis',
      operands: [shape(2, 1, 4)],
      build: (x) => op.Pad(x!, [2, 1], null, [2], { mode: 'reflect' }),
    },
  ],
  Trilu: [
    { name: 'upper', operands: [shape(3, 4)], build: (x) => op.Trilu(x!) },
    {
      name: 'lower, shifted, in batches',
      operands: [shape(2, 3, 3)],
      build: (x) => op.Trilu(x!, scalar('int64', -1), { upper: 0 }),
    },
  ],
  CenterCropPad: [
    { name: 'crops and pads', operands: [shape(5, 2)], build: (x) => op.CenterCropPad(x!, [2, 5]) },
    {
      name: 'named axes',
      operands: [shape(2, 5, 4)],
      build: (x) => op.CenterCropPad(x!, int64s([7, 2]), { axes: [1, 2] }),
    },
  ],
} satisfies Cases<typeof slicing>
