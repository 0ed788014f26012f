import { numbersOf, tensorFrom } from '../ir/leaf.js'
import type { Tensor } from '../ir/tensor.js'
import { isStandardDomain, walkNodes } from '../onnx/import/model-nodes.js'
import { type Model, namedTensors } from '../onnx/model.js'
import { edit } from '../onnx/proto/message.js'
import type { NodeProto } from '../onnx/proto/schema.js'
import { append } from '../util/append.js'
import { OnnxIreError } from '../util/errors.js'
import type { SavedModule } from './adapter.js'
import type { Layer } from './layers.js'
import { transpose } from './stored-layers.js'
import { readElements } from './weight-source.js'

/** Input of a node that reads a tensor. */
export interface Place {
  readonly node: NodeProto
  readonly at: number
}

/** Layer that can be trained as a whole: where its weight and its bias are read. */
export interface WholeLayer {
  readonly layer: Layer
  readonly weightPlaces: readonly Place[]
  readonly bias: { readonly name: string; readonly stored: Tensor; readonly places: readonly Place[] } | undefined
}

/** Position of the weight among the inputs of a layer's node. */
export const weightInput = ({ kind }: Layer): number => (kind === 'embedding' ? 0 : 1)

/** Finds weights and biases of layers. Throws `invalid-option` for a layer whose weight is not stored as it is used. */
export function findWholeLayers(model: Model, layers: readonly Layer[]): WholeLayer[] {
  if (layers.length === 0) return []
  const tensors = namedTensors(model)
  const readers = new Map<string, NodeProto[]>()
  for (const node of walkNodes(model.proto.graph!)) for (const name of node.input) append(readers, name, node)
  return layers.map((layer) => {
    const { module, sites, source, part, kind, out } = layer
    const hasFactor = layer.alpha !== 1 || sites.some(({ attributes }) => Number(attributes['beta'] ?? 1) !== 1)
    const reason = part
      ? `its weight is a part of '${part.of}': name '${part.of}' in 'modulesToSave'`
      : !source || source.isQuantized
        ? `its weight is quantized to ${layer.weight.bits} bits: take a model with float weights, or name '${module}' in 'targets'`
        : hasFactor
          ? `its node multiplies the weight or the bias by a factor (alpha, beta): name '${module}' in 'targets'`
          : undefined
    if (reason)
      throw new OnnxIreError(
        'invalid-option',
        `adapter: module '${module}' of 'modulesToSave' cannot be trained as a whole: ${reason}`,
      )
    const places = sites.flatMap(({ node }) => findBias(node))
    const names = new Set(places.map(({ node, at }) => node.input[at]!))
    const [name] = names
    const bias =
      names.size === 1 && places.length === sites.length ? { name: name!, stored: tensors.get(name!)! } : null
    return {
      layer,
      weightPlaces: sites.map(({ node }) => ({ node, at: weightInput(layer) })),
      bias: bias ? { ...bias, places } : undefined,
    }

    /** The bias of a node itself, or that which the only reader of its output adds. */
    function findBias(node: NodeProto): Place[] {
      if (kind === 'embedding') return []
      const isBias = (name = '') => tensors.get(name)?.dims.join() === String(out)
      if (node.opType === 'Gemm' || node.opType === 'Conv') return isBias(node.input[2]) ? [{ node, at: 2 }] : []
      const [add, other] = readers.get(node.output[0]!) ?? []
      if (!add || other || add.opType !== 'Add' || !isStandardDomain(add)) return []
      const at = 1 - add.input.indexOf(node.output[0]!)
      return isBias(add.input[at]) ? [{ node: add, at }] : []
    }
  })
}

const isTransposed = ({ kind, outAxis }: Layer): boolean => kind === 'linear' && outAxis === 1

/** The tensors of a module as the model has them. */
export function readWhole({ layer, bias }: WholeLayer): SavedModule {
  const { dtype, dims } = layer.source!
  const weight = tensorFrom(dtype, dims, readElements(layer.source!))
  return {
    module: layer.module,
    weight: isTransposed(layer) ? transpose(weight) : weight,
    ...(bias && { bias: bias.stored }),
  }
}

/**
 * The weight of a saved module as its nodes read it.
 * @throws OnnxIreError `invalid-data` if the tensors do not fit the layer
 */
export function toNodeWeight({ layer, bias }: WholeLayer, saved: SavedModule): Tensor {
  const { dims, dtype } = layer.source!
  const expected = isTransposed(layer) ? [...dims].reverse() : dims
  const refuse = (reason: string): never => {
    throw new OnnxIreError(
      'invalid-data',
      `adapter: module '${saved.module}': ${reason}: the adapter belongs to another model; apply it to the one that it was trained on`,
    )
  }
  if (saved.weight.dims.join() !== expected.join())
    refuse(`its weight is [${saved.weight.dims.join(', ')}], the layer needs [${expected.join(', ')}]`)
  if ((saved.bias === undefined) !== (bias === undefined))
    refuse(saved.bias ? 'it has a bias, the layer has none' : 'it has no bias, the layer has one')
  if (saved.bias && saved.bias.dims.join() !== String(layer.out))
    refuse(`its bias is [${saved.bias.dims.join(', ')}], the layer needs [${layer.out}]`)
  const weight = isTransposed(layer) ? transpose(saved.weight) : saved.weight
  return tensorFrom(dtype, dims, numbersOf(weight))
}

/** Inputs of nodes by the node, with the names that they read instead. */
export type Redirections = Map<NodeProto, { readonly at: number; readonly name: string }[]>

/** Lets a node read other tensors. */
export const redirect = (node: NodeProto, changes: Redirections): NodeProto => {
  const own = changes.get(node)
  if (!own) return node
  return edit(node, { input: own.reduce((input, { at, name }) => input.with(at, name), node.input) })
}
