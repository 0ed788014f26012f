import { numbersOf } from '../../ir/leaf.js'
import { topological } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { definitionOf } from '../../op/op.js'

/** Factors of pixels in [0, 1] are at least 1, those of pixels in [0, 255] at most about 1/20. */
const largestFactor = 0.1

/**
 * Whether the first nodes behind an image scale pixels from 0 to 255, as those of Keras's Rescaling and Normalization
 * layers do.
 */
export function takesRawPixels({ outputs }: Graph, image: Value): boolean {
  const nodes = topological(outputs.values())
  let factor = 1
  for (let value = image; ; ) {
    const readers = nodes.filter(({ operator, inputs }) => inputs.includes(value) && !definitionOf(operator).shapeOnly)
    const [node] = readers
    if (!node || readers.length > 1 || !convertsPixels(node, value)) return factor < largestFactor
    const [, operand] = node.inputs
    if (node.operator === 'Mul') factor *= largest(operand === value ? node.inputs[0]! : operand!)
    if (node.operator === 'Div') factor /= largest(operand!)
    value = node.outputs[0]!
  }
}

/** Whether a node scales or shifts pixels by stored numbers, or changes their shape, order, type or size. */
function convertsPixels({ operator, inputs }: Node, pixels: Value): boolean {
  if (['Add', 'Sub', 'Mul', 'Div'].includes(operator)) {
    const isFirst = inputs[0] === pixels
    return isStored(inputs[isFirst ? 1 : 0]!) && (isFirst || operator !== 'Div')
  }
  return inputs[0] === pixels && (definitionOf(operator).view !== undefined || ['Resize', 'Pad'].includes(operator))
}

const isStored = ({ source }: Value): boolean => source.kind === 'parameter' || source.kind === 'constant'

const largest = ({ source }: Value): number =>
  source.kind === 'parameter' || source.kind === 'constant'
    ? numbersOf(source.tensor).reduce((most, x) => Math.max(most, Math.abs(x)), 0)
    : 1
