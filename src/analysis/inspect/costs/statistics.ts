import type { normalization } from '../../../op/definitions/normalization.js'
import type { pooling } from '../../../op/definitions/pooling.js'
import type { reduction } from '../../../op/definitions/reduction.js'
import type { softmax } from '../../../op/definitions/softmax.js'
import { type Costs, perInput, product, size } from './cost.js'

export const reductionCosts = {
  ReduceSum: perInput(1),
  ReduceMean: perInput(1),
  ReduceMax: perInput(1),
  ReduceMin: perInput(1),
  ReduceProd: perInput(1),
  ReduceL1: perInput(2),
  ReduceL2: perInput(2),
  ReduceLogSum: perInput(1),
  ReduceLogSumExp: perInput(4), // max + log sum exp(x - max)
  ReduceSumSquare: perInput(2),
  ArgMax: perInput(1),
  ArgMin: perInput(1),
  CumSum: perInput(1),
  CumProd: perInput(1),
  TopK: perInput(1),
} satisfies Costs<typeof reduction>

export const normalizationCosts = {
  // Fixed statistics, scale and shift come down to one factor and one summand per channel.
  BatchNormalization: ([x], _, { training_mode }) => (training_mode ? 7 : 2) * size(x),
  // mean, x - mean, its square and their mean, times 1 / deviation, scale, shift
  LayerNormalization: ([x, , bias]) => (bias ? 7 : 6) * size(x),
  RMSNormalization: perInput(4),
  InstanceNormalization: perInput(7),
  GroupNormalization: perInput(7),
  LRN: ([x], _, { size: window }) => (window + 5) * size(x),
  LpNormalization: perInput(3),
  MeanVarianceNormalization: perInput(5),
} satisfies Costs<typeof normalization>

export const softmaxCosts = {
  Softmax: perInput(5), // max, x - max, exp, sum, quotient
  LogSoftmax: perInput(5),
  Hardmax: perInput(1),
  SoftmaxCrossEntropyLoss: ([scores, labels]) => 5 * size(scores) + 2 * size(labels),
  NegativeLogLikelihoodLoss: ([, labels]) => 2 * size(labels),
} satisfies Costs<typeof softmax>

export const poolingCosts = {
  MaxPool: (_, [y], { kernel_shape }) => product(kernel_shape) * size(y!),
  AveragePool: (_, [y], { kernel_shape }) => product(kernel_shape) * size(y!),
  LpPool: (_, [y], { kernel_shape }) => 2 * product(kernel_shape) * size(y!),
  GlobalAveragePool: perInput(1),
  GlobalMaxPool: perInput(1),
  GlobalLpPool: perInput(2),
} satisfies Costs<typeof pooling>
