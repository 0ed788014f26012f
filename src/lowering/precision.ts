import { body } from '../ir/body.js'
import { dtypes, isHalf } from '../ir/dtype.js'
import { constant, input, numbersOf, parameter, tensorFrom } from '../ir/leaf.js'
import type { Tensor } from '../ir/tensor.js'
import { nodesOf, topological, withBodies } from '../ir/topology.js'
import {
  type Attribute,
  type Attributes,
  type Body,
  type Graph,
  type Node,
  refineShape,
  type Value,
} from '../ir/value.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import { apply } from '../op/apply.js'
import { replaceElementTypes } from '../op/facts.js'
import { refineFrom, type Substitution } from '../op/inline.js'
import { definitionOf } from '../op/op.js'

type ConvertibleGraph = GraphSpec & Partial<Pick<Graph, 'parameters'>>

/** Whether a graph has a float16 or bfloat16 value, bodies of control flow included. */
function hasHalfPrecision({ inputs, outputs, parameters = new Map() }: ConvertibleGraph): boolean {
  const values = [
    ...withBodies(outputs.values()).flatMap((node) => [...node.inputs, ...node.outputs]),
    ...[inputs, outputs, parameters].flatMap((each) => [...each.values()]),
  ]
  return values.some((value) => value && isHalf(value.dtype))
}

const halfTypes: ReadonlySet<unknown> = new Set([dtypes.float16.onnx, dtypes.bfloat16.onnx])

/**
 * Converts float16 and bfloat16 values of a graph to float32, bodies of control flow included. Parameters become
 * float32 masters, and gradients do not underflow, so the loss needs no scaling. Returns a graph without half precision
 * unchanged.
 */
export function toFloat32<G extends ConvertibleGraph>(graph: G): G {
  if (!hasHalfPrecision(graph)) return graph

  const converted: Substitution = new Map()
  rebuild(topological(graph.outputs.values()), converted)
  const all = (values: ReadonlyMap<string, Value>) =>
    new Map([...values].map(([name, value]) => [name, convert(value, converted)]))
  return {
    ...graph,
    inputs: all(graph.inputs),
    outputs: all(graph.outputs),
    ...(graph.parameters && { parameters: all(graph.parameters) }),
  }
}

/** Builds nodes of the main graph or of the current body again, on the converted values of their inputs. */
function rebuild(nodes: readonly Node[], converted: Substitution): void {
  for (const node of nodes) {
    const results = apply({
      operator: node.operator,
      definition: definitionOf(node.operator),
      inputs: node.inputs.map((value) => value && convert(value, converted)),
      attributes: convertAttributes(node, converted),
      name: node.name,
      outputCount: node.outputs.length,
    })
    for (const [i, value] of node.outputs.entries()) {
      const result = results[i]!
      if (result.source.kind === 'node') refineShape(result, refineFrom(result.shape, value.shape))
      converted.set(value, result)
    }
  }
}

/** Returns the converted value. A leaf is converted at its first use, so that all bodies share the same one. */
function convert(value: Value, converted: Substitution): Value {
  const result = converted.get(value) ?? (value.source.kind === 'node' ? value : convertLeaf(value))
  converted.set(value, result)
  return result
}

function convertLeaf(value: Value): Value {
  const { dtype, shape, source, name } = value
  if (!isHalf(dtype) || source.kind === 'node') return value
  if (source.kind === 'input') return input(name!, 'float32', shape)
  const tensor = convertTensor(source.tensor)
  return source.kind === 'parameter' ? parameter(name!, tensor) : constant(tensor, name)
}

const convertTensor = (tensor: Tensor): Tensor =>
  isHalf(tensor.dtype) ? tensorFrom('float32', tensor.dims, numbersOf(tensor)) : tensor

const convertAttributes = (node: Node, converted: Substitution): Attributes =>
  Object.fromEntries(
    Object.entries(replaceElementTypes(node, (type) => (halfTypes.has(type) ? dtypes.float32.onnx : type))).map(
      ([key, value]) => [key, convertAttribute(value, converted)],
    ),
  )

/** Converts an attribute that is a tensor (ConstantOfShape's `value`) or a body. */
function convertAttribute(attribute: Attribute | undefined, converted: Substitution): Attribute | undefined {
  if (typeof attribute !== 'object' || !('dims' in attribute || 'kind' in attribute)) return attribute
  return 'kind' in attribute ? convertBody(attribute, converted) : convertTensor(attribute)
}

/** Builds a body again, on the converted values of its captures. */
function convertBody(of: Body, converted: Substitution): Body {
  const inputs = of.inputs.map(({ name = 'x', dtype, shape }) => input(name, isHalf(dtype) ? 'float32' : dtype, shape))
  return body(inputs, (...inputs) => {
    for (const [i, value] of of.inputs.entries()) converted.set(value, inputs[i]!)
    rebuild(nodesOf(of), converted)
    return of.outputs.map((value) => convert(value, converted))
  })
}
