import type { activation } from '../../../src/op/definitions/activation.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, type Operand, shape } from './case.js'

const single = 'only a float32 kernel'
const sides: Operand = { shape: [2, 5], range: [-1.5, 1.5] }
const both: Operand = shape(3, 4)
const wide: Operand = { shape: [7], values: [-5, -3.4, -2, -0.3, 0.4, 2.2, 4] }

const of = (
  name: string,
  build: Case['build'],
  operands: readonly Operand[] = [both],
  rest: Partial<Case> = {},
): Case => ({
  name,
  operands,
  build,
  ...rest,
})
const singly = { float32: single }

export const activationCases = {
  Relu: [of('Relu', (x) => op.Relu(x)), of('Relu of a scalar', (x) => op.Relu(x), [shape()])],
  LeakyRelu: [
    of('LeakyRelu', (x) => op.LeakyRelu(x), [both], singly),
    of('LeakyRelu, alpha 0.3', (x) => op.LeakyRelu(x, { alpha: 0.3 }), [both], singly),
  ],
  PRelu: [
    of('PRelu, slope per element', (x, slope) => op.PRelu(x, slope), [both, both], singly),
    of('PRelu, one slope', (x, slope) => op.PRelu(x, slope), [both, shape(1)], singly),
    of('PRelu, slope per channel', (x, slope) => op.PRelu(x, slope), [shape(2, 3, 2, 2), shape(3, 1, 1)], singly),
  ],
  ThresholdedRelu: [
    of('ThresholdedRelu', (x) => op.ThresholdedRelu(x), [{ shape: [4], values: [0.7, 1.4, -1.2, 1.2] }], singly),
    of('ThresholdedRelu, alpha 0', (x) => op.ThresholdedRelu(x, { alpha: 0 }), [both], singly),
  ],
  Elu: [
    of('Elu', (x) => op.Elu(x), [both], singly),
    of('Elu, alpha 1.5', (x) => op.Elu(x, { alpha: 1.5 }), [both], singly),
  ],
  Celu: [
    of('Celu', (x) => op.Celu(x), [both], singly),
    of('Celu, alpha 0.5', (x) => op.Celu(x, { alpha: 0.5 }), [both], singly),
  ],
  Selu: [
    of('Selu', (x) => op.Selu(x), [both], singly),
    of('Selu, alpha 2, gamma 0.5', (x) => op.Selu(x, { alpha: 2, gamma: 0.5 }), [both], singly),
  ],
  Sigmoid: [of('Sigmoid', (x) => op.Sigmoid(x), [sides])],
  HardSigmoid: [
    of('HardSigmoid', (x) => op.HardSigmoid(x), [wide], singly),
    of('HardSigmoid, alpha 0.5, beta 0.3', (x) => op.HardSigmoid(x, { alpha: 0.5, beta: 0.3 }), [wide], singly),
  ],
  HardSwish: [of('HardSwish', (x) => op.HardSwish(x), [wide], singly)],
  Softplus: [of('Softplus', (x) => op.Softplus(x), [wide], singly)],
  Softsign: [of('Softsign', (x) => op.Softsign(x), [both], singly)],
  Swish: [
    of('Swish', (x) => op.Swish(x), [sides]),
    of('Swish, alpha 1.7', (x) => op.Swish(x, { alpha: 1.7 }), [sides]),
  ],
  Mish: [of('Mish', (x) => op.Mish(x), [sides], singly)],
  Shrink: [
    of('Shrink', (x) => op.Shrink(x), [wide], { float32: 'computes in float32 whatever the type' }),
    of('Shrink, bias 0.4, lambd 1', (x) => op.Shrink(x, { bias: 0.4, lambd: 1 }), [wide], {
      float32: 'computes in float32 whatever the type',
    }),
  ],
  Gelu: [
    of('Gelu', (x) => op.Gelu(x), [sides], singly),
    of('Gelu, tanh', (x) => op.Gelu(x, { approximate: 'tanh' }), [sides], singly),
  ],
} satisfies Cases<typeof activation>
