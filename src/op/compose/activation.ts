import type { activation } from '../definitions/activation.js'
import { op } from '../op.js'
import type { Expansions } from './expansion.js'

export const activationExpansions = {
  Mish: ([x]) => op.Mul(x, op.Tanh(op.Softplus(x))),
} satisfies Expansions<typeof activation>
