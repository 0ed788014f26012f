import { numbersOf } from '../ir/leaf.js'
import type { Tensor } from '../ir/tensor.js'
import { type Model, namedTensors, replaceTensors } from '../onnx/model.js'
import { edit } from '../onnx/proto/message.js'
import type { NodeProto } from '../onnx/proto/schema.js'
import { toTensorProto } from '../onnx/proto/tensor.js'
import { append } from '../util/append.js'
import { OnnxIreError } from '../util/errors.js'
import { findPairs, findSaved, findScalings } from './apply-adapter.js'
import type { LayerPair } from './insert-adapter.js'
import type { Layer } from './layers.js'
import { FactorMerge, isFloatWeight } from './merge-factors.js'
import { mergeWeight, roundMerged } from './merged-weight.js'
import { adapterOf, recordOf, removeAdapter } from './read-adapter.js'
import { findReaders } from './readers.js'
import { type Place, toNodeWeight, weightInput } from './saved-modules.js'
import { findBiases, type ScalingPair, scaleBias, scaleWeight } from './scalings.js'
import { dropUnread, replaceNodes } from './scopes.js'
import { readElements, toStoredOrder } from './weight-source.js'

/**
 * Merges the adapter of a model into its float weights, W + s B A, and removes its nodes. Everything else keeps its
 * bytes. A weight that other nodes read too (tied embeddings) remains; the layer gets a changed copy. A convolution of
 * several groups becomes one of one group, since A reads all channels: its weight is larger by the number of groups.
 * Factors of (IA)^3 are merged into quantized weights, too: into their scales, those of inputs into the scales of the
 * layer before.
 *
 * @example
 * await writeModel('merged.onnx', mergeAdapter(trainer.export()))
 *
 * @throws OnnxIreError `invalid-option` if the model has no adapter, or if weights are quantized; `not-finite` naming a
 *   tensor with an element that would be too large for its type
 */
export function mergeAdapter(model: Model): Model {
  const { qkvSizes } = recordOf(model)
  const base = removeAdapter(model)
  const adapter = adapterOf(model)
  const options = qkvSizes ? { qkvSizes } : {}
  const pairs = findPairs(base, adapter, options)
  const scalings = findScalings(base, adapter, options)
  const quantized = pairs.filter(({ layer }) => !isFloatWeight(layer))
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
  const copies: Copy[] = []
  const copyOf = (layer: Layer, dims: readonly number[], weight: Float64Array): Copy => {
    const name = `${layer.module}.merged_weight`
    const places = layer.sites.map(({ node }) => ({ node, at: weightInput(layer) }))
    return { name, tensor: roundMerged(name, layer.source!.dtype, dims, weight), places }
  }
  const place = (layer: Layer, weight: Float64Array) => {
    const { name, dims, stored } = layer.source!
    if (!readers.isExclusive(layer)) return copies.push(copyOf(layer, dims, weight))
    return replaced.set(name, roundMerged(name, stored.dtype, stored.dims, toStoredOrder(layer.source!, weight)))
  }
  for (const group of byNode.values()) {
    const { layer } = group[0]!
    const { source, groups, out, in: inputs, kernel = [] } = layer
    const merged = group.reduce((weight, pair) => mergeWeight(pair.layer, pair.adapter, weight), readElements(source!))
    if (groups === undefined) place(layer, merged)
    else copies.push({ ...copyOf(layer, [out, inputs, ...kernel], merged), hasOneGroup: true })
  }
  const scaled = new Map<NodeProto, ScalingPair[]>()
  const factors = new FactorMerge(base, readers, options)
  const isSaved = (module: string) => adapter.saved?.some((each) => each.module === module) ?? false
  for (const pair of factors.moveInputs(scalings, isSaved)) append(scaled, pair.layer.sites[0]!.node, pair)
  const tensors = namedTensors(base)
  for (const group of scaled.values()) {
    const [{ layer }] = group as [ScalingPair]
    const biases = findBiases(group[0]!)
    if (isFloatWeight(layer))
      place(
        layer,
        group.reduce((weight, pair) => scaleWeight(pair, weight), readElements(layer.source!)),
      )
    else {
      const { name, tensor, places } = factors.scale(group)
      if (readers.count(name) === places.length) replaced.set(name, tensor)
      else copies.push({ name: `${layer.module}.merged_scales`, tensor, places })
    }
    const outputs = group.filter(({ scaling }) => scaling.of === 'outputs')
    if (biases.length === 0 || outputs.length === 0) continue
    const names = new Set(biases.map(({ node, at }) => node.input[at]!))
    const [name = ''] = names
    const stored = tensors.get(name)
    if (names.size > 1 || biases.length !== layer.sites.length || !stored)
      throw new OnnxIreError(
        'invalid-option',
        `the adapter cannot be merged: the bias of ${layer.module} is ${stored ? 'another one where the module is computed again' : 'not stored as it is used'}: leave the adapter beside the weights`,
      )
    const tensor = outputs.reduce((bias, pair) => scaleBias(name, pair, bias), stored)
    const hasSameShape = tensor.dims.join() === stored.dims.join()
    if (hasSameShape && readers.count(name) === biases.length) replaced.set(name, tensor)
    else copies.push({ name: `${layer.module}.merged_bias`, tensor, places: biases })
  }
  for (const { whole, saved } of findSaved(base, adapter, options)) {
    const { layer, bias } = whole
    place(layer, Float64Array.from(numbersOf(toNodeWeight(whole, saved))))
    if (!bias) continue
    const tensor = roundMerged(bias.name, bias.stored.dtype, bias.stored.dims, numbersOf(saved.bias!))
    if (readers.count(bias.name) === bias.places.length) replaced.set(bias.name, tensor)
    else copies.push({ name: `${layer.module}.merged_bias`, tensor, places: bias.places })
  }
  return useCopies(replaceTensors(base, replaced), copies)
}

/** A tensor that nodes read instead of one that other nodes read too. */
interface Copy {
  readonly name: string
  readonly tensor: Tensor
  readonly places: readonly Place[]
  /** Whether the nodes, convolutions of several groups, become ones of one group. */
  readonly hasOneGroup?: true
}

/** Adds tensors as initializers that nodes read instead of others, which are removed if no node reads them any more. */
function useCopies(model: Model, copies: readonly Copy[]): Model {
  if (copies.length === 0) return model
  const graph = model.proto.graph!
  const changes = new Map<string, { readonly at: number; readonly copy: Copy }[]>()
  for (const copy of copies) for (const { node, at } of copy.places) append(changes, node.output[0]!, { at, copy })
  const change = (node: NodeProto): NodeProto => {
    const own = changes.get(node.output[0] ?? '')
    if (!own) return node
    const input = own.reduce((names, { at, copy }) => names.with(at, copy.name), node.input)
    const hasOneGroup = own.some(({ copy }) => copy.hasOneGroup)
    return edit(node, {
      input,
      ...(hasOneGroup && { attribute: node.attribute.filter(({ name }) => name !== 'group') }),
    })
  }
  const edited = edit(graph, {
    node: replaceNodes(graph, (node) => [change(node)]),
    initializer: [...graph.initializer, ...copies.map(({ name, tensor }) => toTensorProto(name, tensor))],
  })
  const replaced = new Set(copies.flatMap(({ places }) => places.map(({ node, at }) => node.input[at]!)))
  return { ...model, proto: edit(model.proto, { graph: dropUnread(edited, replaced) }) }
}
