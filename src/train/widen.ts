import { OnnxIreError } from '../errors.js'
import { dtypes, isHalf } from '../ir/dtype.js'
import { constant, input, numbersOf, parameter, tensorFrom } from '../ir/leaf.js'
import type { Tensor } from '../ir/tensor.js'
import { bodiesOf, leavesOf, topological } from '../ir/topology.js'
import { type Attributes, type Graph, type Node, refineShape, type Value } from '../ir/value.js'
import { apply } from '../op/apply.js'
import { definitionOf } from '../op/index.js'
import { moreKnown } from '../op/inline.js'

const half: ReadonlySet<unknown> = new Set([dtypes.float16.onnx, dtypes.bfloat16.onnx])

/**
 * The same graph in float32 wherever it is in float16 or bfloat16: parameters become float32 masters, and what is computed
 * from them does not lose small gradients, so that no loss has to be scaled. A graph without half floats is returned as it is.
 *
 * Throws `invalid-option` when bodies of control flow hold half floats.
 */
export function widened(graph: Graph): Graph {
  const outputs = [...graph.outputs.values()]
  const nodes = topological(outputs)
  const everything = [
    ...leavesOf(outputs),
    ...nodes.flatMap((node) => node.outputs),
    ...graph.inputs.values(),
    ...graph.parameters.values(),
  ]
  if (!everything.some(({ dtype }) => isHalf(dtype))) return graph

  const wide = new Map<Value, Value>()
  const now = (value: Value): Value => {
    const known = wide.get(value) ?? (value.source.kind === 'node' ? value : widenedLeaf(value))
    wide.set(value, known)
    return known
  }
  for (const node of nodes) {
    if (bodiesOf(node).length > 0) throw inBodies(node)
    const results = apply({
      operator: node.operator,
      definition: definitionOf(node.operator),
      inputs: node.inputs.map((value) => value && now(value)),
      attributes: widenedAttributes(node.attributes),
      name: node.name,
      outputCount: node.outputs.length,
    })
    for (const [i, value] of node.outputs.entries()) {
      const result = results[i]!
      if (result.source.kind === 'node') refineShape(result, moreKnown(result.shape, value.shape))
      wide.set(value, result)
    }
  }
  const all = (values: ReadonlyMap<string, Value>) => new Map([...values].map(([name, value]) => [name, now(value)]))
  return { name: graph.name, inputs: all(graph.inputs), parameters: all(graph.parameters), outputs: all(graph.outputs) }
}

function widenedLeaf(value: Value): Value {
  const { dtype, shape, source, name = '' } = value
  if (!isHalf(dtype) || source.kind === 'node') return value
  if (source.kind === 'input') return input(name, 'float32', shape)
  const tensor = widenedTensor(source.tensor)
  return source.kind === 'parameter' ? parameter(name, tensor) : constant(tensor, name)
}

const widenedTensor = (tensor: Tensor): Tensor =>
  isHalf(tensor.dtype) ? tensorFrom('float32', tensor.dims, numbersOf(tensor)) : tensor

/** Attributes that name a type (Cast's `to`, `dtype`) or hold a tensor (ConstantOfShape's `value`). */
const widenedAttributes = (attributes: Attributes): Attributes =>
  Object.fromEntries(
    Object.entries(attributes).map(([key, value]) => {
      if ((key === 'to' || key === 'dtype') && half.has(value)) return [key, dtypes.float32.onnx]
      const holdsTensor = typeof value === 'object' && value !== null && 'dims' in value
      return [key, holdsTensor ? widenedTensor(value) : value]
    }),
  )

function inBodies({ operator, name, outputs }: Node): OnnxIreError {
  return new OnnxIreError(
    'invalid-option',
    `${operator} '${name ?? outputs[0]?.name ?? '?'}': a float16 model with control flow is not trained; convert it to float32 first`,
  )
}
