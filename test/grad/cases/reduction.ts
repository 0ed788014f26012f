import { int64s } from '../../../src/ir/leaf.js'
import type { reduction } from '../../../src/op/definitions/reduction.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, type Operand, shape } from './case.js'

type Reduction = Exclude<keyof typeof reduction, 'ArgMax' | 'ArgMin' | 'CumSum' | 'CumProd' | 'TopK'>

/** Every way of giving axes. */
const reduce = (operator: Reduction, x: Omit<Operand, 'shape'> = {}): Case[] => [
  { name: `${operator} over everything`, operands: [{ ...x, shape: [2, 3] }], build: (x) => op[operator](x) },
  {
    name: `${operator} to a scalar`,
    operands: [{ ...x, shape: [2, 3] }],
    build: (x) => op[operator](x, { keepdims: 0 }),
  },
  {
    name: `${operator} along 1, kept`,
    operands: [{ ...x, shape: [2, 3, 2] }],
    build: (x) => op[operator](x, [1]),
  },
  {
    name: `${operator} along -1 and 0, dropped`,
    operands: [{ ...x, shape: [2, 3, 2] }],
    build: (x) => op[operator](x, [-1, 0], { keepdims: 0 }),
  },
  {
    name: `${operator} along axes of run time, dropped`,
    operands: [
      { ...x, shape: [2, 3, 2] },
      { shape: [2], dtype: 'int64', values: [2, 0] },
    ],
    build: (x, axes) => op[operator](x, axes, { keepdims: 0 }),
  },
  {
    name: `${operator} along axes of run time, kept`,
    operands: [
      { ...x, shape: [2, 3] },
      { shape: [1], dtype: 'int64', values: [-1] },
    ],
    build: (x, axes) => op[operator](x, axes),
  },
  {
    name: `${operator} along no axes`,
    operands: [{ ...x, shape: [2, 3] }],
    build: (x) => op[operator](x, { noop_with_empty_axes: 1 }),
  },
]

export const reductionCases = {
  ReduceSum: [
    ...reduce('ReduceSum'),
    {
      name: 'ReduceSum along an empty list of axes',
      operands: [shape(2, 3)],
      build: (x) => op.ReduceSum(x, int64s([]), { keepdims: 0, noop_with_empty_axes: 1 }),
    },
    {
      name: 'ReduceSum along an empty list of axes means all',
      operands: [shape(2, 3)],
      build: (x) => op.ReduceSum(x, int64s([]), { keepdims: 0 }),
    },
    {
      name: 'ReduceSum along axes of run time that are empty',
      operands: [shape(2, 3), { shape: [0], dtype: 'int64', values: [] }],
      build: (x, axes) => op.ReduceSum(x, axes, { keepdims: 0, noop_with_empty_axes: 1 }),
    },
  ],
  ReduceMean: reduce('ReduceMean'),
  ReduceMax: [
    ...reduce('ReduceMax', { distinct: true }),
    {
      name: 'ReduceMax shares among ties',
      operands: [{ shape: [3, 1], distinct: true }],
      build: (x) => op.ReduceMax(op.Concat([x, x], { axis: 1 }), [1]),
    },
  ],
  ReduceMin: reduce('ReduceMin', { distinct: true }),
  ReduceProd: [
    ...reduce('ReduceProd'),
    {
      name: 'ReduceProd with zeros among the factors',
      operands: [{ shape: [3, 3], values: [0, 1.5, -2, 0, 0, 3, 1, 2, 0.5] }],
      build: (x) => op.ReduceProd(x, [1]),
      firstOrderOnly: 'second derivatives at zeros are not followed',
    },
  ],
  ReduceL1: reduce('ReduceL1'),
  ReduceL2: reduce('ReduceL2'),
  ReduceLogSum: reduce('ReduceLogSum', { range: [0.5, 1.5] }),
  ReduceLogSumExp: [
    ...reduce('ReduceLogSumExp'),
    {
      name: 'ReduceLogSumExp of numbers whose exponential overflows float32',
      operands: [{ shape: [2, 4], range: [98, 102] }],
      build: (x) => op.ReduceLogSumExp(x, [1], { keepdims: 0 }),
    },
  ],
  ReduceSumSquare: reduce('ReduceSumSquare'),
  CumSum: [0, 1].flatMap((exclusive) =>
    [0, 1].map(
      (reverse): Case => ({
        name: `CumSum, exclusive ${exclusive}, reverse ${reverse}`,
        operands: [shape(2, 4)],
        build: (x) => op.CumSum(x, int64s([exclusive ? 1 : -2]), { exclusive, reverse }),
      }),
    ),
  ),
  CumProd: [
    ...[0, 1].flatMap((exclusive) =>
      [0, 1].map(
        (reverse): Case => ({
          name: `CumProd, exclusive ${exclusive}, reverse ${reverse}`,
          operands: [shape(2, 4)],
          build: (x) => op.CumProd(x, int64s([exclusive ? 1 : -2]), { exclusive, reverse }),
        }),
      ),
    ),
    ...[0, 1].map(
      (exclusive): Case => ({
        name: `CumProd of zeros, exclusive ${exclusive}`,
        operands: [{ shape: [3, 4], values: [0.5, 0, 2, -1, 0, 3, 0, 0.7, 1.5, -2, 0.4, 0] }],
        build: (x) => op.CumProd(x, int64s([1]), { exclusive, reverse: exclusive }),
        firstOrderOnly: 'at zeros it knows the first derivative only',
      }),
    ),
  ],
  TopK: [
    { name: 'TopK', operands: [{ shape: [2, 5], distinct: true }], build: (x) => op.TopK(x, [2]) },
    {
      name: 'TopK, smallest along 0',
      operands: [{ shape: [4, 3], distinct: true }],
      build: (x) => op.TopK(x, [3], { axis: 0, largest: 0 })[0],
    },
    {
      name: 'TopK, unsorted, as many as come',
      operands: [
        { shape: [2, 5], distinct: true },
        { shape: [1], dtype: 'int64', values: [3] },
      ],
      build: (x, k) => op.TopK(x, k, { sorted: 0 })[0],
    },
  ],
} satisfies Cases<typeof reduction>
