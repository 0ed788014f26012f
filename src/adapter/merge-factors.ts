import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { isStandardDomain } from '../onnx/import/model-nodes.js'
import { type Model, namedTensors } from '../onnx/model.js'
import type { NodeProto } from '../onnx/proto/schema.js'
import { OnnxIreError } from '../util/errors.js'
import type { ScalingLayer } from './adapter.js'
import { dequantize } from './dequantize.js'
import { findLayers, type Layer, type LayerOptions } from './layers.js'
import { findOutputs, roundMerged } from './merged-weight.js'
import type { Readers } from './readers.js'
import { type Place, weightInput } from './saved-modules.js'
import { pairScalings, type ScalingPair, scaleWeight } from './scalings.js'
import { attributesOf, toStoredOrder } from './weight-source.js'

/** Scales of a quantized weight with factors of (IA)^3, and where they are read. */
interface ScaledScales {
  readonly name: string
  readonly tensor: Tensor
  readonly places: readonly Place[]
}

/** Whether the weight of a layer is stored in floating point. */
export const isFloatWeight = ({ source }: Layer): boolean => source !== undefined && !source.isQuantized

/** The scales of a quantized weight: the tensor, where it is read, and the one that each element has. */
interface Scales extends Omit<ScaledScales, 'tensor'> {
  /** Dims of the stored elements, the axis of their scales, and the elements of a block on it; 0 without blocks. */
  readonly dims: readonly number[]
  readonly axis: number
  readonly blockSize: number
  /** Elements of the order in which the node reads them, in the order in which they are stored. */
  toStored(elements: Float64Array): Float64Array
}

/**
 * Multiplies factors into the scales of quantized weights: (q - zero point) scale factor is exact but for the rounding
 * of the scale, because every output has scales of its own. Factors of inputs differ within a block of inputs with one
 * scale; if the input of the layer is a product with the outputs of another linear layer, as in the MLP of a Llama,
 * they become factors of those outputs.
 */
export class FactorMerge {
  readonly #base: Model
  readonly #readers: Readers
  readonly #options: LayerOptions
  readonly #tensors: ReadonlyMap<string, Tensor>
  #outputs: ReadonlyMap<string, Layer> | undefined

  constructor(base: Model, readers: Readers, options: LayerOptions) {
    this.#base = base
    this.#readers = readers
    this.#options = options
    this.#tensors = namedTensors(base)
  }

  /**
   * Moves factors of inputs that the scales of a layer cannot take to the outputs of another one.
   * @param isFixed whether the weight of a module is replaced as a whole
   * @throws OnnxIreError `invalid-option` with the reason if there is none
   */
  moveInputs(pairs: readonly ScalingPair[], isFixed: (module: string) => boolean): readonly ScalingPair[] {
    return pairs.map((pair) => {
      const { layer, scaling } = pair
      if (scaling.of === 'outputs' || isFloatWeight(layer)) return pair
      const found = this.#scale([pair])
      if (typeof found !== 'string') return pair
      const before = this.#findProductBefore(layer)
      if (!before || isFixed(before.module))
        throw refuse(
          layer,
          `${found}, and its input is not the product (Mul) of another value and the outputs of a linear layer, which could take its factors`,
        )
      const moved = { layer: before, scaling: outputScaling(before, numbersOf(scaling.factors)) }
      return pairScalings(this.#base, [moved])[0]!
    })
  }

  /** The scales of one weight with factors. Throws `invalid-option` with the reason if they cannot take them. */
  scale(group: readonly ScalingPair[]): ScaledScales {
    const found = this.#scale(group)
    if (typeof found === 'string') throw refuse(group[0]!.layer, found)
    return found
  }

  /** The scales with factors, or the reason why they cannot take them. */
  #scale(group: readonly ScalingPair[]): ScaledScales | string {
    const { layer } = group[0]!
    const scales = this.#findScales(layer)
    if (typeof scales === 'string') return scales
    const { name, places, dims, axis, blockSize, toStored } = scales
    const stored = this.#tensors.get(name)
    if (!stored) return `its scales '${name}' are computed`
    const { width } = findOutputs(layer)
    const window = sizeOf(layer.kernel ?? [])
    const ones: Float64Array = new Float64Array((width * layer.in * window) / (layer.groups ?? 1)).fill(1)
    const factors = toStored(group.reduce((all, pair) => scaleWeight(pair, all), ones))
    const byScale = new Float64Array(sizeOf(stored.dims)).fill(Number.NaN)
    // With their positions as scales, ones become the positions.
    const form = { scales: byScale.map((_, i) => i), zeroPoints: 0, axis, blockSize }
    const positions = dequantize(new Float64Array(factors.length).fill(1), dims, form)
    for (const [i, factor] of factors.entries()) {
      const at = positions[i]!
      if (Number.isNaN(byScale[at])) byScale[at] = factor
      else if (byScale[at] !== factor)
        return byScale.length === 1
          ? 'its weight has one scale for all factors'
          : `one scale of its weight belongs to several ${group[0]!.scaling.of} with different factors`
    }
    const values = numbersOf(stored).map((scale, i) => scale * byScale[i]!)
    return { name, places, tensor: roundMerged(name, stored.dtype, stored.dims, values) }
  }

  #findScales(layer: Layer): Scales | string {
    const nodes = layer.sites.map(({ node }) => node)
    if (layer.source) return this.#findLinearScales(layer, nodes)
    const [first] = nodes as [NodeProto]
    if (first.input[4]) return 'its weight has reordered columns (g_idx)'
    const name = first.input[2]!
    if (nodes.some(({ input }) => input[2] !== name)) return 'its nodes have different scales'
    const { K, N, block_size: blockSize } = attributesOf(first) as Readonly<Record<string, number>>
    const places = nodes.map((node) => ({ node, at: 2 }))
    return { name, places, dims: [N!, K!], axis: 1, blockSize: blockSize!, toStored: (elements) => elements }
  }

  /** The scales by which DequantizeLinear multiplies a weight. */
  #findLinearScales(layer: Layer, nodes: readonly NodeProto[]): Scales | string {
    const source = layer.source!
    const dequantized = new Set(
      nodes.map((node) => {
        let name = node.input[weightInput(layer)]!
        while (this.#readers.producers.get(name)?.opType !== 'DequantizeLinear')
          name = this.#readers.producers.get(name)!.input[0]!
        return this.#readers.producers.get(name)!
      }),
    )
    const [view, ...others] = source.views
    if (others.some(({ kind }) => kind === 'quantize')) return 'its weight is quantized again'
    if (view?.kind !== 'dequantize' || [...dequantized].some(({ input }) => input[1] !== view.scale.name))
      return 'its weight is not stored as DequantizeLinear reads it'
    if (!this.#readers.isComputedAlone(layer)) return 'other nodes read its dequantized weight'
    const { dims, axis, blockSize, scale } = view
    const places = [...dequantized].map((node) => ({ node, at: 1 }))
    return { name: scale.name, places, dims, axis, blockSize, toStored: (elements) => toStoredOrder(source, elements) }
  }

  /** The linear layer whose outputs, and nothing else, are multiplied by another value to the input of a layer. */
  #findProductBefore(layer: Layer): Layer | undefined {
    const [site, other] = layer.sites
    const product = this.#readers.producers.get(site!.input)
    if (other || product?.opType !== 'Mul' || !isStandardDomain(product)) return undefined
    if (this.#readers.count(site!.input) !== 1) return undefined
    const before = product.input.find((name) => this.#findOutputs().has(name) && this.#readers.count(name) === 1)
    const found = before === undefined ? undefined : this.#findOutputs().get(before)
    return found?.out === layer.in ? found : undefined
  }

  /** Linear layers that are computed once, by their output, after a bias if any. */
  #findOutputs(): ReadonlyMap<string, Layer> {
    if (this.#outputs) return this.#outputs
    const layers = findLayers(this.#base, this.#options).filter(
      ({ kind, part, sites }) => kind === 'linear' && !part && sites.length === 1,
    )
    const found = layers.map((layer) => ({ layer, scaling: outputScaling(layer, new Float64Array(layer.out).fill(1)) }))
    const pairs = pairScalings(this.#base, found)
    this.#outputs = new Map(pairs.map(({ layer, outputs }) => [outputs[0]!.output[0]!, layer]))
    return this.#outputs
  }
}

const outputScaling = ({ module, kind, out, sites }: Layer, factors: ArrayLike<number>): ScalingLayer => ({
  module,
  kind,
  of: 'outputs',
  factors: tensorFrom(sites[0]!.dtype, [out, 1], factors),
})

const refuse = ({ module }: Layer, reason: string): OnnxIreError =>
  new OnnxIreError(
    'invalid-option',
    `the adapter cannot be merged: the factors of ${module} cannot be part of its quantized weight: ${reason}: leave the adapter beside the weights, or merge it into the float model`,
  )
