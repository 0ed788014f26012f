import { listInputs } from './import/declarations.js'
import { listReadNames } from './import/model-nodes.js'
import type { Model } from './model.js'
import { edit } from './proto/message.js'

/**
 * Removes inputs that no node reads, for which onnxruntime requires values. tf2onnx writes them for Keras's layer
 * Normalization.
 */
export function removeUnreadInputs(model: Model): Model {
  const { graph } = model.proto
  if (!graph) return model
  const read = new Set([...graph.node.flatMap(listReadNames), ...graph.output.map(({ name }) => name)])
  const unread = new Set(listInputs(model.proto).filter(({ name }) => !read.has(name!)))
  if (unread.size === 0) return model
  const input = graph.input.filter((info) => !unread.has(info))
  return { ...model, proto: edit(model.proto, { graph: edit(graph, { input }) }) }
}
