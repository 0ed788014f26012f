import { tensorFrom } from '../ir/leaf.js'
import type { Tensor } from '../ir/tensor.js'
import { walkNodes } from '../onnx/import/model-nodes.js'
import { type Model, replaceTensors } from '../onnx/model.js'
import { edit } from '../onnx/proto/message.js'
import type { NodeProto } from '../onnx/proto/schema.js'
import { toTensorProto } from '../onnx/proto/tensor.js'
import { append } from '../util/append.js'
import { OnnxIreError } from '../util/errors.js'
import { findPairs, type LayerPair } from './apply-adapter.js'
import type { Layer } from './layers.js'
import { mergeWeight, readWeight } from './merged-weight.js'
import { adapterOf, recordOf, removeAdapter } from './read-adapter.js'
import { replaceNodes } from './scopes.js'
import { toStoredOrder } from './weight-source.js'

/**
 * Merges the adapter of a model into its float weights, W + s B A, and removes its nodes. Everything else keeps its
 * bytes. A weight that other nodes read too (tied embeddings) remains; the layer gets a changed copy.
 *
 * @example
 * await writeModel('merged.onnx', mergeAdapter(trainer.export()))
 *
 * @throws OnnxIreError `invalid-option` if the model has no adapter, or if weights are quantized
 */
export function mergeAdapter(model: Model): Model {
  const { qkvSizes } = recordOf(model)
  const base = removeAdapter(model)
  const pairs = findPairs(base, adapterOf(model), qkvSizes ? { qkvSizes } : {})
  const quantized = pairs.filter(({ layer: { source } }) => !source || source.isQuantized)
  if (quantized.length > 0)
    throw new OnnxIreError(
      'invalid-option',
      `the adapter cannot be merged: the weight of ${quantized[0]!.layer.module}${quantized.length > 1 ? ` and of ${quantized.length - 1} other modules` : ''} is quantized, and the sum would be rounded to its few values: leave the adapter beside the weights, or merge it into the float model`,
    )
  // Parts of a packed layer change one weight.
  const byNode = new Map<NodeProto, LayerPair[]>()
  for (const pair of pairs) append(byNode, pair.layer.sites[0]!.node, pair)
  const readers = findReaders(base)
  const replaced = new Map<string, Tensor>()
  const copies = new Map<Layer, Tensor>()
  for (const group of byNode.values()) {
    const { layer } = group[0]!
    const source = layer.source!
    const merged = group.reduce((weight, pair) => mergeWeight(pair.layer, pair.adapter, weight), readWeight(layer))
    if (readers.isExclusive(layer)) {
      const { dtype, dims } = source.stored
      replaced.set(source.name, tensorFrom(dtype, dims, toStoredOrder(source, merged)))
    } else copies.set(layer, tensorFrom(source.dtype, source.dims, merged))
  }
  return useCopies(replaceTensors(base, replaced), copies)
}

/** Position of the weight among the inputs of a layer's node. */
const weightInput = ({ kind }: Layer): number => (kind === 'embedding' ? 0 : 1)

/** The nodes that read each value of a model, those in bodies included. */
function findReaders({ proto }: Model): { isExclusive(layer: Layer): boolean } {
  const graph = proto.graph!
  const readers = new Map<string, NodeProto[]>()
  const nodes = [...walkNodes(graph)]
  for (const node of nodes) for (const name of node.input) append(readers, name, node)
  const producers = new Map(nodes.flatMap((node) => node.output.map((name) => [name, node] as const)))
  const outputs = new Set(graph.output.map(({ name = '' }) => name))
  return {
    /** Whether only the nodes of a layer read its weight. */
    isExclusive: (layer) => {
      const own = new Set(layer.sites.map(({ node }) => node))
      const values = new Set<string>()
      for (const { node } of layer.sites) {
        let name = node.input[weightInput(layer)]!
        for (; name !== layer.source!.name; name = producers.get(name)!.input[0]!) {
          values.add(name)
          own.add(producers.get(name)!)
        }
        values.add(name)
      }
      return [...values].every((name) => !outputs.has(name) && readers.get(name)!.every((node) => own.has(node)))
    },
  }
}

/** Adds tensors as initializers that layers read instead of their weights. */
function useCopies(model: Model, copies: ReadonlyMap<Layer, Tensor>): Model {
  if (copies.size === 0) return model
  const graph = model.proto.graph!
  const named = [...copies].map(([layer, tensor]) => ({ layer, tensor, name: `${layer.module}.merged_weight` }))
  const inputs = new Map(
    named.flatMap(({ layer, name }) =>
      layer.sites.map(({ node }) => [node.output[0], { name, at: weightInput(layer) }]),
    ),
  )
  const edited = edit(graph, {
    node: replaceNodes(graph, (node) => {
      const change = inputs.get(node.output[0])
      return [change ? edit(node, { input: node.input.with(change.at, change.name) }) : node]
    }),
    initializer: [...graph.initializer, ...named.map(({ name, tensor }) => toTensorProto(name, tensor))],
  })
  return { ...model, proto: edit(model.proto, { graph: edited }) }
}
