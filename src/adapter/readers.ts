import { walkNodes } from '../onnx/import/model-nodes.js'
import type { Model } from '../onnx/model.js'
import type { NodeProto } from '../onnx/proto/schema.js'
import { append } from '../util/append.js'
import type { Layer } from './layers.js'
import { weightInput } from './saved-modules.js'

/** The nodes that read and compute each value of a model, those in bodies included. */
export interface Readers {
  /** Node by each of its outputs. */
  readonly producers: ReadonlyMap<string, NodeProto>
  /** Number of inputs and outputs that read a value. */
  count(name: string): number
  /** Whether only the nodes of a layer read its stored weight, and what is computed of it. */
  isExclusive(layer: Layer): boolean
  /** Whether only the nodes of a layer read what is computed of its stored weight. */
  isComputedAlone(layer: Layer): boolean
}

export function findReaders({ proto }: Model): Readers {
  const graph = proto.graph!
  const readers = new Map<string, NodeProto[]>()
  const nodes = [...walkNodes(graph)]
  for (const node of nodes) for (const name of node.input) append(readers, name, node)
  const producers = new Map(nodes.flatMap((node) => node.output.map((name) => [name, node] as const)))
  const outputs = new Set(graph.output.map(({ name = '' }) => name))
  const isReadBy = (layer: Layer, isStoredIncluded: boolean): boolean => {
    const own = new Set(layer.sites.map(({ node }) => node))
    const values = new Set<string>()
    for (const { node } of layer.sites) {
      let name = node.input[weightInput(layer)]!
      for (; name !== layer.source!.name; name = producers.get(name)!.input[0]!) {
        values.add(name)
        own.add(producers.get(name)!)
      }
      if (isStoredIncluded) values.add(name)
    }
    return [...values].every((name) => !outputs.has(name) && readers.get(name)!.every((node) => own.has(node)))
  }
  return {
    producers,
    count: (name) => (readers.get(name)?.length ?? 0) + (outputs.has(name) ? 1 : 0),
    isExclusive: (layer) => isReadBy(layer, true),
    isComputedAlone: (layer) => isReadBy(layer, false),
  }
}
