import type { DType } from '../ir/dtype.js'
import { findTooLarge, numbersOf, tensorFrom } from '../ir/leaf.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'
import { sum } from '../util/statistics.js'
import type { AdapterLayer } from './adapter.js'
import { readBlocks } from './blocks.js'
import { joinGroups, joinLayerGroups } from './convolution-groups.js'
import type { Layer } from './layers.js'
import { transpose } from './stored-layers.js'
import { readElements } from './weight-source.js'

/** The outputs of a layer in the weight that the base node reads, which has more if it is packed. */
export function findOutputs({ out, part }: Pick<Layer, 'out' | 'part'>): {
  readonly first: number
  /** Outputs of the node. */
  readonly width: number
} {
  return part ? { first: sum(part.sizes.slice(0, part.index)), width: sum(part.sizes) } : { first: 0, width: out }
}

/**
 * The product s B A of an adapter layer in the layout of the weight that the base node reads. If B has groups, the
 * product is that of B's elements as [out / groups, r], of which PEFT computes the norms of DoRA.
 */
function lowRankProduct(layer: Layer, { a, b, scale }: AdapterLayer): Float64Array {
  const r = a.dims[0]!
  const [inputs, outputs] = [sizeOf(a.dims) / r, sizeOf(b.dims) / r]
  const [down, up] = [numbersOf(a), numbersOf(transpose({ ...b, dims: [outputs, r] }))]
  const { outAxis, part } = layer
  const { first, width } = part ? findOutputs(layer) : { first: 0, width: outputs }
  const product = new Float64Array(inputs * width)
  // The inner loop is over neighboring elements of the weight: inputs of one output, or outputs of one input.
  const [rows, columns, rowFactors, columnFactors] =
    outAxis === 0 ? [outputs, inputs, up, down] : [inputs, outputs, down, up]
  const [stride, start] = outAxis === 0 ? [inputs, first * inputs] : [width, first]
  for (let row = 0; row < rows; row++)
    for (let k = 0; k < r; k++) {
      const factor = scale * rowFactors[k * rows + row]!
      const at = start + row * stride
      for (let column = 0; column < columns; column++)
        product[at + column]! += factor * columnFactors[k * columns + column]!
    }
  return product
}

/** The weight of a layer as the base node reads it: dequantized, and of a packed layer with all parts. */
export const readWeight = (layer: Layer, tensors: ReadonlyMap<string, Tensor>): Float64Array =>
  layer.source ? readElements(layer.source) : readBlocks(layer, tensors)

/**
 * The weight of a linear module as PyTorch has it, [out, in]: with the factor of the node, and of a packed layer its
 * part.
 */
export function readModuleWeight(layer: Layer, tensors: ReadonlyMap<string, Tensor>): Float64Array {
  const { outAxis, in: inputs, out, alpha } = layer
  const weight = readWeight(layer, tensors)
  const { first, width } = findOutputs(layer)
  return Float64Array.from({ length: out * inputs }, (_, i) => {
    const [output, input] = [first + Math.floor(i / inputs), i % inputs]
    return alpha * weight[outAxis === 0 ? output * inputs + input : input * width + output]!
  })
}

/**
 * The weight with an adapter layer: W + s B A / alpha with the node's factor alpha. With DoRA, the elements of an
 * output are multiplied by its magnitude and divided by its norm. A convolution of several groups becomes one of one
 * group, [out, in, ...], since A reads all channels.
 */
export function mergeWeight(layer: Layer, adapter: AdapterLayer, weight: Float64Array): Float64Array {
  const add = (to: Float64Array, product: Float64Array) => to.map((w, i) => w + product[i]! / layer.alpha)
  const { groups = 1, out } = layer
  const joined = groups === 1 ? weight : joinGroups(weight, out, groups)
  const sum = add(joined, lowRankProduct(layer, joinLayerGroups(adapter)))
  if (!adapter.magnitude) return sum
  const norms = outputNorms(layer, groups === 1 ? sum : add(weight, lowRankProduct(layer, adapter)))
  const magnitudes = numbersOf(adapter.magnitude)
  visitElements(layer, sum, (at, output) => {
    sum[at]! *= magnitudes[output]! / norms[output]!
  })
  return sum
}

/** Rounds a merged tensor to its type. Throws `not-finite` for a finite element that would be rounded to infinity. */
export function roundMerged(name: string, dtype: DType, dims: readonly number[], values: ArrayLike<number>): Tensor {
  const large = findTooLarge(dtype, values)
  if (large === undefined) return tensorFrom(dtype, dims, values)
  throw new OnnxIreError(
    'not-finite',
    `the adapter cannot be merged: the tensor '${name}' would have the element ${large}, which is too large for its type, ${dtype}: leave the adapter beside the weights, or merge it into a float32 file of the model`,
  )
}

/** Norms of alpha W by output, over everything else. */
export function outputNorms(layer: Layer, weight: Float64Array): Float64Array {
  const squares = new Float64Array(layer.out)
  visitElements(layer, weight, (at, output) => {
    squares[output]! += (layer.alpha * weight[at]!) ** 2
  })
  return squares.map(Math.sqrt)
}

/** Visits the elements of a weight that belong to the outputs of a layer. */
function visitElements(layer: Layer, { length }: Float64Array, visit: (at: number, output: number) => void): void {
  const { first, width } = findOutputs(layer)
  const perOutput = length / width
  for (let at = 0; at < length; at++) {
    const output = (layer.outAxis === 0 ? Math.floor(at / perOutput) : at % width) - first
    if (output >= 0 && output < layer.out) visit(at, output)
  }
}
