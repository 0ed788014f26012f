import { numbersOf } from '../../ir/leaf.js'
import { topological } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { definitionOf } from '../../op/op.js'

/** Factors of pixels in [0, 1] are at least 1, those of pixels in [0, 255] at most about 1/20. */
const largestFactor = 0.1

/**
 * The largest pixel that a model expects if its first nodes scale or shift the image, as Keras's layers Rescaling and
 * Normalization do, and exported transforms of torchvision: 255, or 1 for a larger factor. Undefined if they do not.
 */
export function findPixelRange({ outputs }: Graph, image: Value): 255 | 1 | undefined {
  const nodes = topological(outputs.values())
  let factor = 1
  let isConverted = false
  for (let value = image; ; ) {
    const readers = nodes.filter(({ operator, inputs }) => inputs.includes(value) && !definitionOf(operator).shapeOnly)
    const [node] = readers
    if (!node || readers.length > 1 || !convertsPixels(node, value)) break
    const [, operand] = node.inputs
    if (node.operator === 'Mul') factor *= largest(operand === value ? node.inputs[0]! : operand!)
    if (node.operator === 'Div') factor /= largest(operand!)
    isConverted ||= arithmetic.includes(node.operator)
    value = node.outputs[0]!
  }
  if (!isConverted) return undefined
  return factor < largestFactor ? 255 : 1
}

const arithmetic = ['Add', 'Sub', 'Mul', 'Div']

/** Whether a node scales or shifts pixels by stored numbers, or changes their shape, order, type or size. */
function convertsPixels({ operator, inputs }: Node, pixels: Value): boolean {
  if (arithmetic.includes(operator)) {
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
