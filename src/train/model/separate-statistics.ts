import type { Model } from '../../onnx/model.js'
import { edit } from '../../onnx/proto/message.js'
import type { NodeProto } from '../../onnx/proto/schema.js'

/**
 * Gives the running statistics of BatchNormalization nodes tensors of their own, for training that updates them.
 * Exporters store equal tensors once: in a model from PyTorch whose norms are new, several running means and biases may
 * be Identity nodes of one initializer. Such nodes become initializers with the names of their outputs. Returns the
 * same model if no statistic is shared in this way.
 */
export function separateStatistics(model: Model): Model {
  const graph = model.proto.graph
  if (!graph) return model
  const initializers = new Map(graph.initializer.map((tensor) => [tensor.name ?? '', tensor]))
  const outputs = new Set(graph.output.map(({ name }) => name ?? ''))
  /** Names of initializers by the names of their copies. */
  const copied = new Map<string, string>()
  for (const node of graph.node) {
    const name = copiedInitializer(node, copied, initializers)
    if (name !== undefined) copied.set(node.output[0]!, name)
  }
  const original = (name: string) => copied.get(name) ?? name
  const reads = new Map<string, number>()
  for (const { input, output } of graph.node)
    if (!copied.has(output[0] ?? ''))
      for (const name of input.map(original)) reads.set(name, (reads.get(name) ?? 0) + 1)
  const shared = new Set(
    graph.node
      .filter(({ opType, domain = '' }) => opType === 'BatchNormalization' && domain === '')
      .flatMap(({ input }) => input.slice(3, 5).map(original))
      .filter((name) => initializers.has(name) && reads.get(name)! > 1),
  )
  const separated = new Map([...copied].filter(([copy, name]) => shared.has(name) && !outputs.has(copy)))
  if (separated.size === 0) return model
  const copies = [...separated]
  return {
    ...model,
    proto: edit(model.proto, {
      graph: edit(graph, {
        node: graph.node.filter(({ output }) => !separated.has(output[0] ?? '')),
        initializer: [
          ...graph.initializer,
          ...copies.map(([copy, name]) => edit(initializers.get(name)!, { name: copy })),
        ],
        // Up to IR version 3 initializers are declared among the inputs.
        input: [
          ...graph.input,
          ...copies.flatMap(([copy, name]) =>
            graph.input.filter((info) => info.name === name).map((info) => edit(info, { name: copy })),
          ),
        ],
      }),
    }),
  }
}

/** The name of the initializer that an Identity node copies, directly or through other Identity nodes. */
function copiedInitializer(
  { opType, domain = '', input, output }: NodeProto,
  copied: ReadonlyMap<string, string>,
  initializers: ReadonlyMap<string, unknown>,
): string | undefined {
  const [x] = input
  if (opType !== 'Identity' || domain !== '' || x === undefined || !output[0]) return undefined
  return copied.get(x) ?? (initializers.has(x) ? x : undefined)
}
