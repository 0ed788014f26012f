import { numbersOf } from '../ir/leaf.js'
import { sizeOf } from '../ir/tensor.js'
import type { AdapterLayer } from './adapter.js'
import type { Layer } from './layers.js'
import { toReadOrder } from './weight-source.js'

/** The product s B A of an adapter layer in the layout of the weight that the base node reads. */
export function lowRankProduct({ outAxis, part }: Layer, { a, b, scale }: AdapterLayer): Float64Array {
  const r = a.dims[0]!
  const [inputs, outputs] = [sizeOf(a.dims) / r, sizeOf(b.dims) / r]
  const [down, up] = [numbersOf(a), numbersOf(b)]
  const width = part ? part.sizes.reduce((sum, size) => sum + size, 0) : outputs
  const first = part ? part.sizes.slice(0, part.index).reduce((sum, size) => sum + size, 0) : 0
  const product = new Float64Array(inputs * width)
  const [inStride, outStride] = outAxis === 0 ? [1, inputs] : [width, 1]
  for (let o = 0; o < outputs; o++) {
    for (let k = 0; k < r; k++) {
      const factor = scale * up[o * r + k]!
      if (factor === 0) continue
      for (let i = 0; i < inputs; i++)
        product[i * inStride + (first + o) * outStride]! += factor * down[k * inputs + i]!
    }
  }
  return product
}

/** The stored weight of a layer in the layout that the base node reads. */
export const readWeight = ({ source }: Layer): Float64Array =>
  toReadOrder(source!, Float64Array.from(numbersOf(source!.stored)))

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
