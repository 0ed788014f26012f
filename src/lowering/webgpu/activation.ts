import { scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { activationExpansions } from '../../op/compose/activation.js'
import { applyMask } from '../../op/compose/mask.js'
import type { activation } from '../../op/definitions/activation.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

/** e^(factor min(x, 0)) - 1: does not overflow. */
const decay = (x: Value, factor = 1): Value => {
  const negative = op.Min([x, 0])
  return op.Sub(op.Exp(factor === 1 ? negative : op.Mul(negative, factor)), 1)
}

export const activationLowerings = {
  Celu: ([x], { alpha }) => op.Add(op.Max([x, 0]), op.Mul(decay(x, 1 / alpha), alpha)),
  Selu: ([x], { alpha, gamma }) => op.Mul(op.Add(op.Max([x, 0]), op.Mul(decay(x), alpha)), gamma),
  Softsign: ([x]) => op.Div(x, op.Add(op.Abs(x), 1)),
  // x - bias above lambd, x + bias below -lambd, else 0
  Shrink: ([x], { bias, lambd }) =>
    op.Add(applyMask(op.Sub(x, bias), op.Greater(x, lambd)), applyMask(op.Add(x, bias), op.Less(x, -lambd))),
  Mish: activationExpansions.Mish,
} satisfies Lowerings<typeof activation>

/** For operator sets for which these operators have no kernel. */
export const downlevelActivations = {
  Elu: ([x], { alpha }) => op.Add(op.Max([x, 0]), op.Mul(decay(x), alpha)),
  HardSigmoid: ([x], { alpha, beta }) => op.Clip(op.Add(op.Mul(x, alpha), beta), 0, 1),
  HardSwish: ([x]) => op.Mul(x, op.Clip(op.Add(op.Mul(x, 1 / 6), 0.5), 0, 1)),
  Swish: ([x], { alpha }) => op.Mul(x, op.Sigmoid(alpha === 1 ? x : op.Mul(x, alpha))),
  ThresholdedRelu: ([x], { alpha }) => op.Where(op.Greater(x, alpha), x, scalar(x.dtype, 0)),
} satisfies Lowerings<typeof activation>
