import { lowerCounts, upperCounts } from '../formula/digits.js'
import { binOf, type Order } from './histogram.js'

/** The upper 16 bits of infinity; everything from there on is infinite or NaN. */
const INFINITY = 0x7f80
const SIGN = 0x8000

/** `kthLargest` of float32 numbers: raw bits are counted, and the counts are put in order. */
export function selectSingle(arrays: readonly Float32Array[], k: number, order: Order): number | null {
  const counts = upperCounts(arrays)
  if ([0, SIGN].some((sign) => counts.subarray(sign | INFINITY, sign + SIGN).some((n) => n > 0))) return null
  const bin = binOf(order === 'magnitude' ? byMagnitude(counts) : byValue(counts), k)
  const upper = order === 'magnitude' ? bin.index : bitsOfValue(bin.index)
  // As a magnitude the number may have either sign.
  const lower = lowerCounts(arrays, order === 'magnitude' ? 0x7fff0000 : 0xffff0000 | 0, upper << 16)
  // Of negative numbers the larger ones have the smaller bits.
  const reversed = upper >= SIGN
  const { index } = binOf(reversed ? lower.reverse() : lower, bin.rank)
  words[0] = (upper << 16) | (reversed ? 0xffff - index : index)
  return numbers[0]!
}

/** In place. */
const byMagnitude = (counts: Uint32Array): Uint32Array => {
  for (let i = 0; i < SIGN; i++) counts[i]! += counts[SIGN | i]!
  return counts.subarray(0, SIGN)
}

/** Negative numbers first, those of the largest bits at the very first. */
const byValue = (counts: Uint32Array): Uint32Array => {
  const ordered = new Uint32Array(counts.length)
  ordered.set(counts.slice(SIGN).reverse())
  ordered.set(counts.subarray(0, SIGN), SIGN)
  return ordered
}

/** The upper bits that `byValue` puts at `index`. */
const bitsOfValue = (index: number): number => (index < SIGN ? 0xffff - index : index - SIGN)

const words = new Int32Array(1)
const numbers = new Float32Array(words.buffer)
