import type { Dim } from '../../ir/shape.js'
import type { Tensor } from '../../ir/tensor.js'
import { declareDims, readShape, undeclare } from '../../onnx/import/declarations.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import {
  findFunction,
  indexFunctions,
  isStandardDomain,
  listReadNames,
  sortNodes,
  walkNodes,
} from '../../onnx/import/model-nodes.js'
import type { Model } from '../../onnx/model.js'
import { isConstant } from '../../onnx/proto/constant.js'
import { create, edit, rewrite } from '../../onnx/proto/message.js'
import {
  type AttributeProto,
  attributeTypes,
  type FunctionProto,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type ValueInfoProto,
} from '../../onnx/proto/schema.js'
import { toTensorProto } from '../../onnx/proto/tensor.js'

/** Names of the values of a graph that depend on some of its tensors, and of the tensors. */
export function findChanged({ node: nodes }: GraphProto, tensors: ReadonlyMap<string, Tensor>): ReadonlySet<string> {
  const changed = new Set(tensors.keys())
  for (const node of sortNodes(nodes, () => false))
    if (readsAny(node, changed)) for (const name of node.output) if (name !== '') changed.add(name)
  return changed
}

const readsAny = (node: NodeProto, names: ReadonlySet<string>): boolean =>
  listReadNames(node).some((name) => names.has(name))

/**
 * Replaces tensors of a model by tensors of other sizes, and removes the declared shapes of the values that change with
 * them, also in branches of If and in functions.
 * @param changed names of the tensors and of the values downstream of them
 */
export function resizeTensors(model: Model, tensors: ReadonlyMap<string, Tensor>, changed: ReadonlySet<string>): Model {
  const graph = model.proto.graph!
  const replaced = edit(graph, {
    initializer: graph.initializer.map((proto) =>
      tensors.has(proto.name ?? '') ? toTensorProto(proto.name!, tensors.get(proto.name!)!) : proto,
    ),
    node: graph.node.map((node) =>
      isConstant(node) && tensors.has(node.output[0] ?? '')
        ? replaceValue(node, tensors.get(node.output[0]!)!)
        : node.opType === 'If' && isStandardDomain(node) && readsAny(node, changed)
          ? rewrite('NodeProto', node, 'GraphProto', undeclare)
          : node,
    ),
    // Up to IR version 3 initializers are declared among the inputs.
    input: graph.input.map((info) =>
      tensors.has(info.name ?? '') ? declareDims(info, tensors.get(info.name!)!.dims) : info,
    ),
    valueInfo: graph.valueInfo.filter(({ name = '' }) => !changed.has(name)),
    output: graph.output.map((info) => (changed.has(info.name ?? '') ? declareDims(info, undefined) : info)),
  })
  const called = findCalled(
    model.proto,
    graph.node.filter((node) => readsAny(node, changed)),
  )
  const functions = model.proto.functions.map((each) =>
    called.has(each) ? edit(rewrite('FunctionProto', each, 'GraphProto', undeclare), { valueInfo: [] }) : each,
  )
  return { ...model, proto: edit(model.proto, { graph: replaced, ...(called.size > 0 && { functions }) }) }
}

/** The functions that nodes call, also through other functions. */
function findCalled(model: ModelProto, nodes: readonly NodeProto[]): ReadonlySet<FunctionProto> {
  const functions = indexFunctions(model)
  const called = new Set<FunctionProto>()
  const addCalls = (node: readonly NodeProto[]) => {
    for (const each of walkNodes({ node })) {
      const callee = findFunction(functions, each)
      if (callee) called.add(callee)
    }
  }
  addCalls(nodes)
  // Iterating a Set includes the elements that are added during the iteration.
  for (const { node } of called) addCalls(node)
  return called
}

function replaceValue(node: NodeProto, tensor: Tensor): NodeProto {
  const value: AttributeProto = create('AttributeProto', {
    name: 'value',
    type: attributeTypes.tensor,
    t: toTensorProto('', tensor),
  })
  return edit(node, { attribute: [value] })
}

/** Declares the inferred shapes of changed outputs, with the symbols of the original file for the other axes. */
export function declareOutputs(before: Model, resized: Model, changed: ReadonlySet<string>): Model {
  const { outputs } = importGraph(resized)
  const old = new Map(before.proto.graph!.output.map((info) => [info.name ?? '', info]))
  const graph = resized.proto.graph!
  const output = graph.output.map((info) => {
    const name = info.name ?? ''
    const shape = changed.has(name) ? outputs.get(name)?.shape : undefined
    return shape
      ? declareDims(
          info,
          shape.map((dim, axis) => keepSymbol(dim, axis, old.get(name)!)),
        )
      : info
  })
  return { ...resized, proto: edit(resized.proto, { graph: edit(graph, { output }) }) }
}

/** Returns the symbol of the original file for an axis, if any. Symbols that only inference uses become '?'. */
function keepSymbol(dim: Dim, axis: number, info: ValueInfoProto): Dim {
  if (typeof dim === 'number') return dim
  const symbol = readShape(info)?.[axis]
  return typeof symbol === 'string' ? symbol : /^[\w.]+$/.test(dim) ? dim : '?'
}
