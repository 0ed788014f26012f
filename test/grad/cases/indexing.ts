import { constant, scalar, tensorFrom } from '../../../src/ir/leaf.js'
import type { indexing, selection } from '../../../src/op/definitions/indexing.js'
import { op } from '../../../src/op/op.js'
import { type Cases, integers, shape } from './case.js'

const noDoubles = 'OneHot'

export const indexingCases = {
  Gather: [
    { name: 'rows, one twice', operands: [shape(4, 3), integers([3], 2, 0, 2)], build: (x, i) => op.Gather(x!, i!) },
    {
      name: 'rows by a matrix of negative indices',
      operands: [shape(4, 3), integers([2, 2], -1, 0, 3, -4)],
      build: (x, i) => op.Gather(x!, i!),
    },
    {
      name: 'the last axis',
      operands: [shape(2, 4), integers([3], 1, 1, -1)],
      build: (x, i) => op.Gather(x!, i!, { axis: -1 }),
    },
    {
      name: 'a middle axis by a matrix',
      operands: [shape(2, 4, 3), integers([2, 2], 1, 1, 3, 0)],
      build: (x, i) => op.Gather(x!, i!, { axis: 1 }),
    },
    {
      name: 'one index known when run',
      operands: [shape(2, 4, 3), integers([], -2)],
      build: (x, i) => op.Gather(x!, i!, { axis: 1 }),
    },
    {
      name: 'one known index',
      operands: [shape(2, 4, 3)],
      build: (x) => op.Gather(x!, scalar('int64', 1), { axis: 1 }),
    },
    { name: 'the last one', operands: [shape(2, 4)], build: (x) => op.Gather(x!, [-1], { axis: -1 }) },
    { name: 'a known order', operands: [shape(2, 4)], build: (x) => op.Gather(x!, [2, 0, -1, 1], { axis: 1 }) },
    { name: 'known rows, one twice', operands: [shape(3, 2)], build: (x) => op.Gather(x!, [2, 0, 2]) },
    {
      name: 'of a vector',
      operands: [shape(5), { shape: [2], dtype: 'int32', values: [4, 4] }],
      build: (x, i) => op.Gather(x!, i!),
    },
  ],
  GatherElements: [
    {
      name: 'the first axis',
      operands: [shape(3, 2), integers([2, 2], 2, 0, 2, 1)],
      build: (x, i) => op.GatherElements(x!, i!),
    },
    {
      name: 'the last axis, negative',
      operands: [shape(2, 3), integers([2, 4], 0, -1, 0, 1, 2, 2, -3, 0)],
      build: (x, i) => op.GatherElements(x!, i!, { axis: -1 }),
    },
  ],
  GatherND: [
    {
      name: 'elements',
      operands: [shape(2, 3), integers([3, 2], 0, 1, 1, -1, 0, 1)],
      build: (x, i) => op.GatherND(x!, i!),
    },
    { name: 'rows', operands: [shape(2, 3, 2), integers([2, 2, 1], 1, 0, 1, 1)], build: (x, i) => op.GatherND(x!, i!) },
    {
      name: 'behind a batch axis',
      operands: [shape(2, 3, 2), integers([2, 1], 1, -1)],
      build: (x, i) => op.GatherND(x!, i!, { batch_dims: 1 }),
    },
  ],
  ScatterElements: [
    {
      name: 'replacing',
      operands: [shape(3, 4), integers([2, 2], 0, 3, 2, 1), shape(2, 2)],
      build: (x, i, u) => op.ScatterElements(x!, i!, u!, { axis: 1 }),
    },
    {
      name: 'adding, one place twice',
      operands: [shape(3, 2), integers([3, 2], 0, -1, 0, 1, 2, 1), shape(3, 2)],
      build: (x, i, u) => op.ScatterElements(x!, i!, u!, { reduction: 'add' }),
    },
    {
      name: 'multiplying',
      operands: [shape(3, 2), integers([2, 2], 0, 1, 0, 2), shape(2, 2)],
      build: (x, i, u) => op.ScatterElements(x!, i!, u!, { reduction: 'mul' }),
    },
    {
      name: 'multiplying with zeros',
      operands: [
        { shape: [4], values: [0, 1.5, 2, 0] },
        integers([4], 0, 1, 1, 3),
        { shape: [4], values: [2, 0, 3, 0] },
      ],
      build: (x, i, u) => op.ScatterElements(x!, i!, u!, { reduction: 'mul' }),
      firstOrderOnly: 'differences of a gradient whose cases change at 0',
    },
    {
      name: 'taking the largest',
      operands: [
        { shape: [3, 2], values: [1, 0.2, -1, 0.5, 0, 2] },
        integers([2, 2], 0, 1, 0, 2),
        { shape: [2, 2], values: [1.5, 0.3, 0.8, 2.4] },
      ],
      build: (x, i, u) => op.ScatterElements(x!, i!, u!, { reduction: 'max' }),
    },
    {
      name: 'taking the smallest',
      operands: [
        { shape: [2, 3], values: [1, 0.2, -1, 0.5, 0, 2] },
        integers([2, 2], 0, 1, 1, 2),
        { shape: [2, 2], values: [1.5, 0.3, -0.8, 1.4] },
      ],
      build: (x, i, u) => op.ScatterElements(x!, i!, u!, { axis: -1, reduction: 'min' }),
    },
  ],
  ScatterND: [
    {
      name: 'replacing rows',
      operands: [shape(4, 2), integers([2, 1], 3, 0), shape(2, 2)],
      build: (x, i, u) => op.ScatterND(x!, i!, u!),
    },
    {
      name: 'adding elements, one place twice',
      operands: [shape(2, 3), integers([3, 2], 0, 1, 1, 2, 0, 1), shape(3)],
      build: (x, i, u) => op.ScatterND(x!, i!, u!, { reduction: 'add' }),
    },
    {
      name: 'multiplying rows',
      operands: [shape(3, 2), integers([2, 1], 1, 1), shape(2, 2)],
      build: (x, i, u) => op.ScatterND(x!, i!, u!, { reduction: 'mul' }),
    },
    {
      name: 'taking the largest',
      operands: [
        { shape: [3, 2], values: [1, 0.2, -1, 0.5, 0, 2] },
        integers([2, 1], 1, 1),
        { shape: [2, 2], values: [1.5, 0.3, -0.8, 0.4] },
      ],
      build: (x, i, u) => op.ScatterND(x!, i!, u!, { reduction: 'max' }),
    },
  ],
  TensorScatter: [
    {
      name: 'a cache of keys',
      operands: [shape(2, 3, 5, 2), shape(2, 3, 2, 2), integers([2], 1, 3)],
      build: (past, update, at) => op.TensorScatter(past!, update!, at!),
    },
    {
      name: 'round and round',
      operands: [shape(2, 4, 3), shape(2, 3, 3), integers([2], 2, 7)],
      build: (past, update, at) => op.TensorScatter(past!, update!, at!, { mode: 'circular' }),
    },
    {
      name: 'from the start, another axis',
      operands: [shape(2, 3, 4), shape(2, 3, 2)],
      build: (past, update) => op.TensorScatter(past!, update!, { axis: 2 }),
    },
  ],
  Compress: [
    {
      name: 'rows',
      operands: [shape(4, 2), { shape: [3], dtype: 'bool', values: [1, 0, 1] }],
      build: (x, condition) => op.Compress(x!, condition!, { axis: 0 }),
    },
    {
      name: 'elements',
      operands: [shape(2, 3), { shape: [5], dtype: 'bool', values: [0, 1, 1, 0, 1] }],
      build: (x, condition) => op.Compress(x!, condition!),
    },
  ],
  OneHot: [
    {
      name: 'last',
      operands: [integers([3], 0, 2, -1), shape(2)],
      build: (i, values) => op.OneHot(i!, scalar('int64', 4), values!),
      float32: noDoubles,
      linear: true,
    },
    {
      name: 'in front',
      operands: [integers([2, 2], 0, 2, 1, 9), shape(2)],
      build: (i, values) => op.OneHot(i!, constant(tensorFrom('int64', [1], [3])), values!, { axis: 0 }),
      float32: noDoubles,
      linear: true,
    },
  ],
  Unique: [
    { name: 'elements', operands: [{ shape: [2, 3], distinct: true }], build: (x) => op.Unique(x!)[0]! },
    { name: 'rows', operands: [{ shape: [3, 2], distinct: true }], build: (x) => op.Unique(x!, { axis: 0 })[0]! },
  ],
  Range: [
    {
      name: 'start and step',
      operands: [
        { shape: [], values: [0.5] },
        { shape: [], values: [3.1], fixed: true },
        { shape: [], values: [0.75] },
      ],
      build: (start, limit, delta) => op.Range(start!, limit!, delta!),
    },
  ],
  ReverseSequence: [
    {
      name: 'time first',
      operands: [shape(4, 3), integers([3], 2, 4, 1)],
      build: (x, lens) => op.ReverseSequence(x!, lens!),
    },
    {
      name: 'batch first',
      operands: [shape(2, 3, 2), integers([2], 3, 2)],
      build: (x, lens) => op.ReverseSequence(x!, lens!, { batch_axis: 0, time_axis: 1 }),
    },
  ],
} satisfies Cases<typeof indexing & typeof selection>
