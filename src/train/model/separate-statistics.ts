import { isStandardDomain } from '../../onnx/import/model-nodes.js'
import type { Model } from '../../onnx/model.js'
import { edit } from '../../onnx/proto/message.js'
import type { GraphProto } from '../../onnx/proto/schema.js'

/** Names of initializers by the names of their copies: outputs of Identity nodes. Outputs of the model are left out. */
export function findCopies({ node, initializer, output }: GraphProto): ReadonlyMap<string, string> {
  const initializers = new Set(initializer.map(({ name = '' }) => name))
  const copied = new Map<string, string>()
  for (const each of node) {
    const {
      opType,
      input: [x],
      output: [y],
    } = each
    if (opType !== 'Identity' || !isStandardDomain(each) || x === undefined || !y) continue
    const name = copied.get(x) ?? (initializers.has(x) ? x : undefined)
    if (name !== undefined) copied.set(y, name)
  }
  for (const { name = '' } of output) copied.delete(name)
  return copied
}

/** Adds copies of initializers under new names. @param copies names of initializers by the names of their copies */
export function addCopies(graph: GraphProto, copies: ReadonlyMap<string, string>): GraphProto {
  const initializers = new Map(graph.initializer.map((tensor) => [tensor.name ?? '', tensor]))
  const added = [...copies]
  return edit(graph, {
    initializer: [...graph.initializer, ...added.map(([copy, name]) => edit(initializers.get(name)!, { name: copy }))],
    // Up to IR version 3 initializers are declared among the inputs.
    input: [
      ...graph.input,
      ...added.flatMap(([copy, name]) =>
        graph.input.filter((info) => info.name === name).map((info) => edit(info, { name: copy })),
      ),
    ],
  })
}

/** Replaces Identity nodes by initializers with the names of their outputs. @param copies see `findCopies` */
export const separateCopies = (graph: GraphProto, copies: ReadonlyMap<string, string>): GraphProto =>
  addCopies(edit(graph, { node: graph.node.filter(({ output }) => !copies.has(output[0] ?? '')) }), copies)

/**
 * Gives the running statistics of BatchNormalization nodes tensors of their own, for training that updates them.
 * Exporters store equal tensors once: in a model from PyTorch whose norms are new, several running means and biases may
 * be Identity nodes of one initializer. Such nodes become initializers with the names of their outputs. Returns the
 * same model if no statistic is shared in this way.
 */
export function separateStatistics(model: Model): Model {
  const graph = model.proto.graph
  if (!graph) return model
  const copied = findCopies(graph)
  const initializers = new Set(graph.initializer.map(({ name = '' }) => name))
  const original = (name: string) => copied.get(name) ?? name
  const reads = new Map<string, number>()
  for (const { input, output } of graph.node)
    if (!copied.has(output[0] ?? ''))
      for (const name of input.map(original)) reads.set(name, (reads.get(name) ?? 0) + 1)
  const shared = new Set(
    graph.node
      .filter((node) => node.opType === 'BatchNormalization' && isStandardDomain(node))
      .flatMap(({ input }) => input.slice(3, 5).map(original))
      .filter((name) => initializers.has(name) && reads.get(name)! > 1),
  )
  const separated = new Map([...copied].filter(([, name]) => shared.has(name)))
  if (separated.size === 0) return model
  return { ...model, proto: edit(model.proto, { graph: separateCopies(graph, separated) }) }
}
