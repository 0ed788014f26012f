import { numbersOf } from '../ir/leaf.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import type { AdapterLayer } from './adapter.js'
import { readBlocks } from './blocks.js'
import type { Layer } from './layers.js'
import { transpose } from './names.js'
import { toReadOrder } from './weight-source.js'

/** The product s B A of an adapter layer in the layout of the weight that the base node reads. */
export function lowRankProduct({ outAxis, part }: Layer, { a, b, scale }: AdapterLayer): Float64Array {
  const r = a.dims[0]!
  const [inputs, outputs] = [sizeOf(a.dims) / r, sizeOf(b.dims) / r]
  const [down, up] = [numbersOf(a), numbersOf(transpose({ ...b, dims: [outputs, r] }))]
  const width = part ? part.sizes.reduce((sum, size) => sum + size, 0) : outputs
  const first = part ? part.sizes.slice(0, part.index).reduce((sum, size) => sum + size, 0) : 0
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

/** The stored weight of a layer in the layout that the base node reads. */
export function readWeight({ source }: Layer): Float64Array {
  const { data } = source!.stored
  const elements = data instanceof Float32Array ? data : numbersOf(source!.stored)
  return toReadOrder(source!, new Float64Array(elements))
}

/** Whether the weight of a linear layer can be read: in floating point, or in blocks. */
export const isReadableWeight = ({ source, operator }: Layer): boolean =>
  source ? !source.isQuantized : operator === 'com.microsoft.MatMulNBits'

/**
 * The weight of a linear module as PyTorch has it, [out, in]: with the factor of the node, and of a packed layer its
 * part.
 */
export function readModuleWeight(layer: Layer, tensors: ReadonlyMap<string, Tensor>): Float64Array {
  const { outAxis, in: inputs, out, part, alpha } = layer
  const weight = layer.source ? readWeight(layer) : readBlocks(layer, tensors)
  const width = weight.length / inputs
  const first = part ? part.sizes.slice(0, part.index).reduce((sum, size) => sum + size, 0) : 0
  return Float64Array.from({ length: out * inputs }, (_, i) => {
    const [output, input] = [first + Math.floor(i / inputs), i % inputs]
    return alpha * weight[outAxis === 0 ? output * inputs + input : input * width + output]!
  })
}

/**
 * The weight with an adapter layer: W + s B A / alpha with the node's factor alpha. With DoRA, its rows are scaled so
 * that those of alpha W have the magnitudes as norms.
 */
export function mergeWeight(layer: Layer, adapter: AdapterLayer, weight: Float64Array): Float64Array {
  const product = lowRankProduct(layer, adapter)
  const sum = weight.map((w, i) => w + product[i]! / layer.alpha)
  if (!adapter.magnitude) return sum
  const norms = rowNorms(layer, sum)
  const magnitudes = numbersOf(adapter.magnitude)
  return sum.map((w, i) => (w * magnitudes[outputOf(layer, i)]!) / norms[outputOf(layer, i)]!)
}

/** Norms of alpha W by output, over the inputs. */
export function rowNorms(layer: Layer, weight: Float64Array): Float64Array {
  const squares = new Float64Array(layer.out)
  for (const [i, w] of weight.entries()) squares[outputOf(layer, i)]! += (layer.alpha * w) ** 2
  return squares.map(Math.sqrt)
}

/** The output that an element of a linear weight belongs to. */
const outputOf = ({ outAxis, in: inputs, out }: Layer, index: number): number =>
  outAxis === 0 ? Math.floor(index / inputs) : index % out
