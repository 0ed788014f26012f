/** What numbers are ranked by: their magnitude, or their value with its sign. */
export type Order = 'magnitude' | 'value'

/** The bin that holds the `rank`-th largest, and its rank within that bin. */
export function binOf(histogram: Uint32Array, rank: number): { readonly index: number; readonly rank: number } {
  let left = rank
  let index = histogram.length - 1
  for (; index > 0 && histogram[index]! < left; index--) left -= histogram[index]!
  return { index, rank: left }
}
