import { constantNumber } from '../ir/leaf.js'
import type { Node } from '../ir/value.js'

const drawing: ReadonlySet<string> = new Set([
  'RandomNormal',
  'RandomNormalLike',
  'RandomUniform',
  'RandomUniformLike',
  'Bernoulli',
  'Multinomial',
])

/** Whether a node gives other numbers every time it is computed; Dropout does unless its training mode is known to be off. */
export const drawsNumbers = ({ operator, inputs }: Node): boolean =>
  drawing.has(operator) || (operator === 'Dropout' && inputs[2] != null && constantNumber(inputs[2]) !== 0)
