import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { sizeOf } from '../ir/tensor.js'
import type { AdapterLayer } from './adapter.js'

/**
 * Groups of the convolution that a layer changes: B has those of the base layer, A has one, as in PEFT. 1 for layers of
 * other kinds.
 */
export const groupsOf = ({ a, b }: Pick<AdapterLayer, 'a' | 'b'>): number => a.dims[0]! / b.dims[1]!

/**
 * The weight of a convolution of several groups, [out, in / groups, ...], as that of one group, [out, in, ...]: zeros
 * where an output does not read an input.
 */
export function joinGroups(weight: ArrayLike<number>, out: number, groups: number): Float64Array {
  const perOutput = weight.length / out
  const joined = new Float64Array(weight.length * groups)
  for (let output = 0; output < out; output++) {
    const group = Math.floor((output * groups) / out)
    const [from, to] = [output * perOutput, (output * groups + group) * perOutput]
    for (let i = 0; i < perOutput; i++) joined[to + i] = weight[from + i]!
  }
  return joined
}

/** An adapter layer of a convolution of several groups whose B has one group. */
export function joinLayerGroups(layer: AdapterLayer): AdapterLayer {
  const { a, b } = layer
  const groups = groupsOf(layer)
  if (groups === 1) return layer
  const dims = b.dims.with(1, a.dims[0]!)
  return { ...layer, b: tensorFrom(b.dtype, dims, joinGroups(numbersOf(b), b.dims[0]!, groups)) }
}

/**
 * The adapter layer with groups from which `joinLayerGroups` made one whose B has one group, which may be filled up
 * with zeros; undefined if outputs read from other groups.
 */
export function splitLayerGroups(layer: AdapterLayer, groups: number): AdapterLayer | undefined {
  const { a, b } = layer
  const [out = 0, columns = 0, ...window] = b.dims
  const values = numbersOf(b)
  for (let rank = columns - (columns % groups); rank > 0; rank -= groups) {
    const perGroup = rank / groups
    const isOwn = (i: number) =>
      Math.floor((i % columns) / perGroup) === Math.floor((Math.floor(i / columns) * groups) / out)
    if (!values.every((value, i) => value === 0 || isOwn(i))) continue
    const dims = a.dims.with(0, rank)
    return {
      ...layer,
      a: tensorFrom(a.dtype, dims, numbersOf(a).slice(0, sizeOf(dims))),
      b: tensorFrom(
        b.dtype,
        [out, perGroup, ...window],
        values.filter((_, i) => isOwn(i)),
      ),
    }
  }
  return undefined
}
