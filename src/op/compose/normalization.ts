import type { Value } from '../../ir/value.js'
import type { normalization } from '../definitions/normalization.js'
import { op } from '../op.js'
import type { Expansions } from './expansion.js'
import { rootOf } from './statistics.js'

/** Subtracted mean, divided by the standard deviation; the constant is the one of the operator's function body. */
function meanVariance(x: Value, axes: readonly number[]): Value {
  const centered = op.Sub(x, op.ReduceMean(x, axes, { keepdims: 1 }))
  const deviation = rootOf(op.ReduceMean(op.Mul(centered, centered), axes, { keepdims: 1 }), 2)
  return op.Div(centered, op.Add(deviation, 1e-9))
}

export const normalizationExpansions = {
  MeanVarianceNormalization: ([x], { axes }) => meanVariance(x, axes),
  // y = x / (bias + alpha/size * sum of x² over `size` neighboring channels)^beta
  LRN: ([x], { alpha, beta, bias, size }) => {
    const squares = op.Unsqueeze(op.Reshape(op.Mul(x, x), [0, 0, -1]), [1])
    const pads = [Math.floor((size - 1) / 2), 0, Math.ceil((size - 1) / 2), 0]
    const means = op.AveragePool(squares, { kernel_shape: [size, 1], pads, count_include_pad: 1 })
    return op.Div(x, op.Pow(op.Add(op.Mul(op.Reshape(means, op.Shape(x)), alpha), bias), beta))
  },
} satisfies Expansions<typeof normalization>
