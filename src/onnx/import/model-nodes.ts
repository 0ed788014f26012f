import type { AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto } from '../proto/schema.js'

const functionKey = (domain: string | undefined, name: string | undefined, overload: string | undefined): string =>
  JSON.stringify([domain === 'ai.onnx' ? '' : (domain ?? ''), name ?? '', overload ?? ''])

/** The functions that a model defines, for `findFunction`. */
export const indexFunctions = ({ functions }: ModelProto): ReadonlyMap<string, FunctionProto> =>
  new Map(functions.map((each) => [functionKey(each.domain, each.name, each.overload), each]))

/**
 * The function that a node calls, if any. A function of the model takes precedence over an operator of the same name.
 */
export const findFunction = (
  functions: ReadonlyMap<string, FunctionProto>,
  { domain, opType, overload }: NodeProto,
): FunctionProto | undefined => functions.get(functionKey(domain, opType, overload))

/** A graph, body or function. The default attributes of a function can contain bodies too. */
type Nodes = Pick<GraphProto, 'node'> & Partial<Pick<FunctionProto, 'attributeProto'>>

/** Yields every node of a graph, including the nodes of bodies. */
export function* walkNodes({ node: nodes, attributeProto = [] }: Nodes): Generator<NodeProto> {
  for (const node of nodes) {
    yield node
    yield* walkBodies(node.attribute)
  }
  yield* walkBodies(attributeProto)
}

function* walkBodies(attributes: readonly AttributeProto[]): Generator<NodeProto> {
  for (const { g, graphs } of attributes) for (const body of g ? [g, ...graphs] : graphs) yield* walkNodes(body)
}

/**
 * Yields the operator nodes of a model: those of its graph and, once each, of the functions it calls, without the
 * calls.
 */
export function* walkOperatorNodes(model: ModelProto): Generator<NodeProto> {
  const functions = indexFunctions(model)
  const graphs = new Set<Nodes>(model.graph ? [model.graph] : [])
  // Iterating a Set includes the elements that are added during the iteration.
  for (const graph of graphs)
    for (const node of walkNodes(graph)) {
      const called = findFunction(functions, node)
      if (called) graphs.add(called)
      else yield node
    }
}

export const isStandardDomain = (node: NodeProto) => !node.domain || node.domain === 'ai.onnx'

/** The name of a node's operator, with its domain unless that is ai.onnx: `Conv`, `com.microsoft.FusedMatMul`. */
export const qualifiedName = (node: NodeProto) =>
  isStandardDomain(node) ? (node.opType ?? '?') : `${node.domain}.${node.opType}`

/** Whether a node is the Gradient operator, which refers to tensors by name and is imported by `importGradient`. */
export const isGradient = ({ opType, domain }: NodeProto): boolean =>
  opType === 'Gradient' && domain === 'ai.onnx.preview.training'
