import { isFloat } from '../../ir/dtype.js'
import { dependenciesOf } from '../../ir/topology.js'
import type { Body, Node, Value } from '../../ir/value.js'
import { skipIdentity } from '../../loss/loss.js'
import { inputsWith, isInput, isRandom } from '../../op/facts.js'
import { definitionOf } from '../../op/op.js'
import { hasOneElement, isGrid } from './fixed-tensors.js'

/** Whether the outputs have elements of the first input in another shape, order or type, or rounded. */
export const isView = ({ operator }: Node): boolean => {
  const { view } = definitionOf(operator)
  return view !== undefined || ['Split', 'QuantizeLinear', 'DequantizeLinear'].includes(operator)
}

/** Values by the inputs of bodies that are equal to them in each iteration, or are slices of them. */
export type Origins = ReadonlyMap<Value, Value>

/**
 * Finds the values that bodies of Loop and Scan read through their inputs: states that no iteration changes, as which
 * tf2onnx writes the weights of recurrent layers, and tensors that Scan slices.
 */
export function findOrigins(nodes: readonly Node[]): Origins {
  const origins = new Map<Value, Value>()
  for (const { operator, inputs, attributes } of nodes) {
    if (operator !== 'Loop' && operator !== 'Scan') continue
    const body = attributes['body'] as Body
    const states = operator === 'Loop' ? inputs.length : inputs.length - (attributes['num_scan_inputs'] as number)
    // The results of a body of Loop begin with the condition, its inputs with the iteration and the condition.
    const offset = operator === 'Loop' ? 1 : 0
    for (const [index, own] of body.inputs.entries()) {
      const given = inputs[index]
      const result = body.outputs[index - offset]
      if (given && (index >= states || (result && skipIdentity(result) === own))) origins.set(own, given)
    }
  }
  return origins
}

/**
 * Returns the parameters that a value consists of: a parameter, a view or part of one, or a concatenation of several.
 * Returns an empty list for any other value.
 * @param origins values that bodies read through their inputs; default: such inputs are no parameters
 */
export function resolveParameters(value: Value | null | undefined, origins?: Origins): readonly Value[] {
  const parameters = new Set<Value>()
  const pending = new Set(value ? [value] : [])
  // The loop also visits values that are added during iteration.
  for (const each of pending) {
    const { source } = each
    const origin = origins?.get(each)
    if (source.kind === 'parameter') parameters.add(each)
    else if (origin) pending.add(origin)
    else if (source.kind !== 'node') return []
    else if (isView(source)) pending.add(source.inputs[0]!)
    else if (source.operator === 'Concat') for (const input of source.inputs) pending.add(input!)
    else return []
  }
  return [...parameters]
}

/** Whether a value is a parameter or a constant. */
export const isTensor = ({ source }: Value): boolean => source.kind === 'parameter' || source.kind === 'constant'

/**
 * Finds the results of nodes whose elements come from stored tensors only, and are the same in every run. Their number
 * may depend on the inputs: a class token is repeated for each example.
 */
export function findStored(nodes: readonly Node[], origins: Origins): ReadonlySet<Value> {
  const stored = new Set<Value>()
  const isStored = (x: Value): boolean => {
    const origin = origins.get(x)
    return stored.has(x) || isTensor(x) || (!!origin && isStored(origin))
  }
  for (const node of nodes) {
    const shapes = new Set(inputsWith('hostInputs', node))
    const operands = isView(node) ? [node.inputs[0]!] : dependenciesOf(node).filter((x) => !shapes.has(x))
    if (operands.every(isStored) && (isView(node) || !isRandom(node))) for (const y of node.outputs) stored.add(y)
  }
  return stored
}

/**
 * Finds the parameters that a stored value is computed from: of a weight its kernel and gain (weight standardization),
 * directions and lengths (weight normalization), the factors of a product; of positions the table that is resized.
 *
 * Left out are angles and what they are computed from, vectors in a matrix product, as which spectral normalization
 * estimates the norm of a weight, and frozen statistics, which a normalization in nodes of its own reads.
 * @param isPassed whether the operands of a node are followed; default: of every node
 */
export function findFactors(
  value: Value,
  origins: Origins,
  isPassed: (node: Node) => boolean = () => true,
): readonly Value[] {
  const factors = new Set<Value>()
  const pending = new Set([value])
  // The loop also visits values that are added during iteration.
  for (const each of pending) {
    const { source } = each
    const origin = origins.get(each)
    if (origin) pending.add(origin)
    else if (source.kind === 'parameter') factors.add(each)
    if (source.kind === 'node' && isPassed(source)) for (const x of operandsOf(source)) pending.add(x)
  }
  return [...factors]
}

/** Whether a result has the elements of the inputs, repeated or added up, and is computed by no layer or activation. */
export const keepsTables = (node: Node): boolean =>
  isView(node) || ['Add', 'Concat', 'Expand', 'Tile'].includes(node.operator)

/** The inputs of a node whose elements the results are computed from. */
function operandsOf(node: Node): readonly Value[] {
  const { operator, inputs } = node
  const definition = definitionOf(operator)
  if (definition.shapeOnly || operator === 'Cos' || operator === 'Sin') return []
  if (isView(node) || isLessProduct(node)) return [inputs[0]!]
  if (isDeviation(node)) return []
  return inputs.filter(
    (x, index): x is Value =>
      x !== null &&
      isFloat(x.dtype) &&
      !isInput(definition, 'configInputs', index) &&
      !isInput(definition, 'hostInputs', index) &&
      !(operator === 'BatchNormalization' && index >= 3) &&
      !isDirection(x, node) &&
      !(operator === 'MatMul' && index === 0 && isGrid(x)),
  )
}

/** Whether a product is subtracted, as frozen statistics are from a bias: b - mean * scale. */
const isLessProduct = ({ operator, inputs }: Node): boolean =>
  operator === 'Sub' && sourceOperator(inputs[1]!) === 'Mul'

/** Whether a root is taken of a tensor and a number, as of a stored variance and epsilon. */
const isDeviation = ({ operator, inputs: [x] }: Node): boolean =>
  operator === 'Sqrt' &&
  x?.source.kind === 'node' &&
  x.source.operator === 'Add' &&
  x.source.inputs.some((each) => resolveParameters(each).length > 0) &&
  x.source.inputs.some((each) => each && hasOneElement(each))

const sourceOperator = ({ source }: Value): string | undefined => (source.kind === 'node' ? source.operator : undefined)

/** Whether a product sums over a vector. In a product of stored tensors, it only measures the other one. */
export const isDirection = ({ shape }: Value, { operator }: Node): boolean =>
  operator === 'MatMul' && shape?.length === 1
