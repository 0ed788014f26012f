import type { softmax } from '../../../src/op/definitions/softmax.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, type Operand, shape } from './case.js'

const along = (operator: 'Softmax' | 'LogSoftmax', axis: number, ...dims: readonly number[]): Case => ({
  name: `${operator} along ${axis} of [${dims}]`,
  operands: [shape(...dims)],
  build: (x) => op[operator](x!, { axis }),
})

interface LossAttributes {
  readonly reduction?: string
  readonly ignore_index?: number
}

const labels = (dims: readonly number[], ...values: readonly number[]): Operand => ({
  shape: dims,
  values,
  dtype: 'int64',
})
const weights: Operand = { shape: [3], range: [0.5, 1.5] }

const loss = (
  operator: 'SoftmaxCrossEntropyLoss' | 'NegativeLogLikelihoodLoss',
  name: string,
  operands: readonly Operand[],
  attributes: LossAttributes = {},
): Case => ({
  name: `${operator} ${name}`,
  operands,
  build: (scores, target, weight) => op[operator](scores!, target!, weight ?? null, attributes),
})

const losses = (operator: 'SoftmaxCrossEntropyLoss' | 'NegativeLogLikelihoodLoss'): Case[] => [
  loss(operator, 'mean', [shape(4, 3), labels([4], 0, 2, 1, 2)]),
  loss(operator, 'sum over positions', [shape(2, 3, 4), labels([2, 4], 0, 2, 1, 2, 1, 1, 0, 2)], { reduction: 'sum' }),
  loss(operator, 'none', [shape(2, 3, 4), labels([2, 4], 0, 2, 1, 2, 1, 1, 0, 2)], { reduction: 'none' }),
  loss(operator, 'weighted mean', [shape(4, 3), labels([4], 0, 2, 1, 2), weights]),
  loss(operator, 'weighted, none', [shape(4, 3), labels([4], 0, 2, 1, 2), weights], { reduction: 'none' }),
  loss(operator, 'mean with ignored labels', [shape(4, 3), labels([4], 0, -100, 1, 2)], { ignore_index: -100 }),
  loss(operator, 'weighted mean with an ignored class', [shape(4, 3), labels([4], 0, 2, 1, 2), weights], {
    ignore_index: 2,
  }),
]

export const softmaxCases = {
  Softmax: [along('Softmax', -1, 4, 5), along('Softmax', 1, 2, 5, 3), along('Softmax', 0, 5)],
  LogSoftmax: [along('LogSoftmax', -1, 4, 5), along('LogSoftmax', 1, 2, 5, 3), along('LogSoftmax', 0, 5)],
  SoftmaxCrossEntropyLoss: [
    ...losses('SoftmaxCrossEntropyLoss'),
    {
      name: 'SoftmaxCrossEntropyLoss and its log-probabilities',
      operands: [shape(4, 3), labels([4], 0, 2, 1, 2)],
      build: (scores, target) => op.SoftmaxCrossEntropyLoss(scores!, target!),
    },
    {
      name: 'SoftmaxCrossEntropyLoss, log-probabilities alone',
      operands: [shape(4, 3), labels([4], 0, 2, 1, 2)],
      build: (scores, target) => op.SoftmaxCrossEntropyLoss(scores!, target!)[1],
    },
  ],
  NegativeLogLikelihoodLoss: losses('NegativeLogLikelihoodLoss'),
} satisfies Cases<typeof softmax>
