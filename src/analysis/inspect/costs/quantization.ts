import type { quantization } from '../../../op/definitions/quantization.js'
import { type Costs, perInput, perOutput, size } from './cost.js'
import { convolved, multiplied } from './products.js'

/** Products of integers count as those of reals do; a scale and a zero point are two operations. */
export const quantizationCosts = {
  QuantizeLinear: perOutput(2),
  DequantizeLinear: perOutput(2),
  DynamicQuantizeLinear: perInput(4),
  ConvInteger: ([, w], [y]) => convolved(w, y!),
  MatMulInteger: ([a], [y]) => multiplied(a, y!),
  QLinearConv: ([, , , w, , , , , b], [y]) => convolved(w, y!, b) + 2 * size(y!),
  QLinearMatMul: ([a], [y]) => multiplied(a, y!) + 2 * size(y!),
} satisfies Costs<typeof quantization>
