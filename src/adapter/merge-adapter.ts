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
import { findReaders, type Readers } from './readers.js'
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
  rejectQuantized(pairs)
  const readers = findReaders(base)
  const merged = new MergedTensors(readers)
  // Parts of a packed layer change one weight.
  for (const group of groupByNode(pairs)) mergePairs(group, merged)
  const factors = new FactorMerge(base, readers, options)
  const isSaved = (module: string) => adapter.saved?.some((each) => each.module === module) ?? false
  const tensors = namedTensors(base)
  for (const group of groupByNode(factors.moveInputs(scalings, isSaved))) {
    const { layer } = group[0]!
    if (isFloatWeight(layer))
      merged.setWeight(
        layer,
        group.reduce((weight, pair) => scaleWeight(pair, weight), readElements(layer.source!)),
      )
    else merged.set(factors.scale(group), `${layer.module}.merged_scales`)
    mergeBiasFactors(group, tensors, merged)
  }
  for (const { whole, saved } of findSaved(base, adapter, options)) {
    const { layer, bias } = whole
    merged.setWeight(layer, Float64Array.from(numbersOf(toNodeWeight(whole, saved))))
    if (!bias) continue
    const tensor = roundMerged(bias.name, bias.stored.dtype, bias.stored.dims, numbersOf(saved.bias!))
    merged.set({ ...bias, tensor }, `${layer.module}.merged_bias`)
  }
  return useCopies(replaceTensors(base, merged.replaced), merged.copies)
}

function rejectQuantized(pairs: readonly LayerPair[]): void {
  const [first, ...others] = pairs.filter(({ layer }) => !isFloatWeight(layer))
  if (first)
    throw new OnnxIreError(
      'invalid-option',
      `the adapter cannot be merged: the weight of ${first.layer.module}${others.length > 0 ? ` and of ${others.length} other modules` : ''} is quantized, and the sum would be rounded to its few values: leave the adapter beside the weights, or merge it into the float model`,
    )
}

/** Groups pairs by the first node of their layer. */
function groupByNode<Pair extends { readonly layer: Layer }>(pairs: readonly Pair[]): Iterable<readonly Pair[]> {
  const groups = new Map<NodeProto, Pair[]>()
  for (const pair of pairs) append(groups, pair.layer.sites[0]!.node, pair)
  return groups.values()
}

/** Merges the low-rank products of one node into its weight. */
function mergePairs(group: readonly LayerPair[], merged: MergedTensors): void {
  const { layer } = group[0]!
  const { source, groups } = layer
  const weight = group.reduce((sum, pair) => mergeWeight(pair.layer, pair.adapter, sum), readElements(source!))
  if (groups === undefined) merged.setWeight(layer, weight)
  else merged.setJoinedWeight(layer, weight)
}

/** Merges the factors of a node's outputs into its bias. */
function mergeBiasFactors(
  group: readonly ScalingPair[],
  tensors: ReadonlyMap<string, Tensor>,
  merged: MergedTensors,
): void {
  const { layer } = group[0]!
  const places = findBiases(group[0]!)
  const outputs = group.filter(({ scaling }) => scaling.of === 'outputs')
  if (places.length === 0 || outputs.length === 0) return
  const names = new Set(places.map(({ node, at }) => node.input[at]!))
  const [name = ''] = names
  const stored = tensors.get(name)
  if (names.size > 1 || places.length !== layer.sites.length || !stored)
    throw new OnnxIreError(
      'invalid-option',
      `the adapter cannot be merged: the bias of ${layer.module} is ${stored ? 'another one where the module is computed again' : 'not stored as it is used'}: leave the adapter beside the weights`,
    )
  const tensor = outputs.reduce((bias, pair) => scaleBias(name, pair, bias), stored)
  const copyName = `${layer.module}.merged_bias`
  if (tensor.dims.join() === stored.dims.join()) merged.set({ name, tensor, places }, copyName)
  else merged.copies.push({ name: copyName, tensor, places })
}

/** Merged tensors of a model. */
class MergedTensors {
  /** New elements of stored tensors. */
  readonly replaced = new Map<string, Tensor>()
  /** Changed copies of stored tensors that other nodes read too. */
  readonly copies: Copy[] = []
  readonly #readers: Readers

  constructor(readers: Readers) {
    this.#readers = readers
  }

  /**
   * Replaces a tensor for the nodes that read it at `places`.
   * @param copyName name of a copy, if other nodes read the tensor too
   */
  set({ name, tensor, places }: Copy, copyName: string): void {
    if (this.#readers.count(name) === places.length) this.replaced.set(name, tensor)
    else this.copies.push({ name: copyName, tensor, places })
  }

  /** Replaces the weight of a layer, given as its node reads it. */
  setWeight(layer: Layer, weight: Float64Array): void {
    const { name, dims, stored } = layer.source!
    if (this.#readers.isExclusive(layer))
      this.replaced.set(name, roundMerged(name, stored.dtype, stored.dims, toStoredOrder(layer.source!, weight)))
    else this.copies.push(copyWeight(layer, dims, weight))
  }

  /** Replaces the weight of a convolution of several groups, which becomes one of one group. */
  setJoinedWeight(layer: Layer, weight: Float64Array): void {
    const { out, in: inputs, kernel = [] } = layer
    this.copies.push({ ...copyWeight(layer, [out, inputs, ...kernel], weight), hasOneGroup: true })
  }
}

function copyWeight(layer: Layer, dims: readonly number[], weight: Float64Array): Copy {
  const name = `${layer.module}.merged_weight`
  const places = layer.sites.map(({ node }) => ({ node, at: weightInput(layer) }))
  return { name, tensor: roundMerged(name, layer.source!.dtype, dims, weight), places }
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
