import { dtypes, isHalf } from '../../ir/dtype.js'
import { constant, input, numbersOf, parameter, tensorFrom } from '../../ir/leaf.js'
import { body } from '../../ir/scope.js'
import type { Tensor } from '../../ir/tensor.js'
import { topological, withBodies } from '../../ir/topology.js'
import {
  type Attribute,
  type Attributes,
  type Body,
  type Graph,
  type Node,
  refineShape,
  type Value,
} from '../../ir/value.js'
import { apply } from '../../op/apply.js'
import { moreKnown, type Substitution } from '../../op/inline.js'
import { definitionOf } from '../../op/op.js'

/** Whether anything in a graph, bodies of control flow included, is in float16 or bfloat16. */
export function hasHalfPrecision({ inputs, outputs, parameters }: Graph): boolean {
  const values = [
    ...withBodies(outputs.values()).flatMap((node) => [...node.inputs, ...node.outputs]),
    ...[inputs, outputs, parameters].flatMap((each) => [...each.values()]),
  ]
  return values.some((value) => value && isHalf(value.dtype))
}

const half: ReadonlySet<unknown> = new Set([dtypes.float16.onnx, dtypes.bfloat16.onnx])

/** Attributes that number a type. */
const typeAttributes: ReadonlySet<string> = new Set([
  'to',
  'dtype',
  'output_dtype',
  'precision',
  'softmax_precision',
  'stash_type',
])

/**
 * The same graph in float32 wherever it is in float16 or bfloat16, bodies of control flow included: parameters become float32
 * masters, and what is computed from them does not lose small gradients, so that no loss has to be scaled. A graph without
 * half floats is returned as it is.
 */
export function toFloat32(graph: Graph): Graph {
  if (!hasHalfPrecision(graph)) return graph

  const wide: Substitution = new Map()
  remake(topological(graph.outputs.values()), wide)
  const all = (values: ReadonlyMap<string, Value>) =>
    new Map([...values].map(([name, value]) => [name, wideOf(value, wide)]))
  return { name: graph.name, inputs: all(graph.inputs), parameters: all(graph.parameters), outputs: all(graph.outputs) }
}

/** Nodes of the main graph or of the body that is being made, again over what has become of their operands. */
function remake(nodes: readonly Node[], wide: Substitution): void {
  for (const node of nodes) {
    const results = apply({
      operator: node.operator,
      definition: definitionOf(node.operator),
      inputs: node.inputs.map((value) => value && wideOf(value, wide)),
      attributes: wideAttributes(node.attributes, wide),
      name: node.name,
      outputCount: node.outputs.length,
    })
    for (const [i, value] of node.outputs.entries()) {
      const result = results[i]!
      if (result.source.kind === 'node') refineShape(result, moreKnown(result.shape, value.shape))
      wide.set(value, result)
    }
  }
}

/** What has become of a value; leaves are widened where they are first met, so that all bodies see the same one. */
function wideOf(value: Value, wide: Substitution): Value {
  const known = wide.get(value) ?? (value.source.kind === 'node' ? value : wideLeaf(value))
  wide.set(value, known)
  return known
}

function wideLeaf(value: Value): Value {
  const { dtype, shape, source, name = '' } = value
  if (!isHalf(dtype) || source.kind === 'node') return value
  if (source.kind === 'input') return input(name, 'float32', shape)
  const tensor = wideTensor(source.tensor)
  return source.kind === 'parameter' ? parameter(name, tensor) : constant(tensor, name)
}

const wideTensor = (tensor: Tensor): Tensor =>
  isHalf(tensor.dtype) ? tensorFrom('float32', tensor.dims, numbersOf(tensor)) : tensor

const wideAttributes = (attributes: Attributes, wide: Substitution): Attributes =>
  Object.fromEntries(
    Object.entries(attributes).map(([key, value]) => [
      key,
      typeAttributes.has(key) && half.has(value) ? dtypes.float32.onnx : wideAttribute(value, wide),
    ]),
  )

/** Attributes may hold a tensor (ConstantOfShape's `value`) and bodies. */
function wideAttribute(attribute: Attribute | undefined, wide: Substitution): Attribute | undefined {
  if (typeof attribute !== 'object' || !('dims' in attribute || 'kind' in attribute)) return attribute
  return 'kind' in attribute ? wideBody(attribute, wide) : wideTensor(attribute)
}

/** A body over what has become of the values it captures. */
function wideBody(of: Body, wide: Substitution): Body {
  const inputs = of.inputs.map(({ name = 'x', dtype, shape }) => input(name, isHalf(dtype) ? 'float32' : dtype, shape))
  return body(inputs, (...inputs) => {
    for (const [i, value] of of.inputs.entries()) wide.set(value, inputs[i]!)
    remake(
      topological(of.outputs, ({ scope }) => scope === of.scope),
      wide,
    )
    return of.outputs.map((value) => wideOf(value, wide))
  })
}
