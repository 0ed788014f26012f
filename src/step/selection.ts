import { OnnxIreError } from '../errors.js'
import type { FloatArray } from '../optim/arrays.js'

/** What numbers are ranked by: their magnitude, or their value with its sign. */
export type Order = 'magnitude' | 'value'

/**
 * The k-th largest number over all arrays together, exactly, in linear time, without sorting or copying; ranked by
 * magnitude it is the magnitude itself. Null where a number is infinite or NaN.
 *
 * IEEE bit patterns become integers of the same order: without the sign bit for magnitudes; for values with the sign bit
 * flipped, and with the others flipped too where it was set. A histogram over the upper 16 bits then finds the bin of the
 * k-th largest, and a second one over the next 16 bits of that bin's members the number itself; float64 needs four.
 * @param k from 1 (the largest) to the number of elements
 * @throws 'invalid-option' when there is no k-th element
 */
export function kthLargest(arrays: readonly FloatArray[], k: number, order: Order): number | null {
  const total = arrays.reduce((sum, array) => sum + array.length, 0)
  if (!Number.isInteger(k) || k < 1 || k > total)
    throw new OnnxIreError('invalid-option', `cannot select number ${k} of ${total} values`)
  const single = arrays.filter((array) => array instanceof Float32Array)
  const map = order === 'magnitude' ? byMagnitude : byValue
  const found = single.length === arrays.length ? select32(single, k, map) : select64(arrays, k, map)
  return found === null ? null : found + 0 // -0 and 0 are a tie, and 0 stands for both
}

/**
 * The order-preserving map of one word w of a number whose sign is s (-1 where the sign bit is set, else 0):
 * (w & keep) ^ (s & flip) ^ top, where `top` is for the word with the sign bit only.
 */
interface OrderMap {
  readonly keep: number
  readonly flip: number
  readonly top: number
}

const byMagnitude: OrderMap = { keep: 0x7fffffff, flip: 0, top: 0 }
const byValue: OrderMap = { keep: -1, flip: 0x7fffffff, top: 0x80000000 }

const INFINITY32 = 0x7f80 // the upper 16 bits of float32 infinity; everything from there on is infinite or NaN
const INFINITY64 = 0x7ff0

function select32(arrays: readonly Float32Array[], k: number, map: OrderMap): number | null {
  const views = arrays.map((array) => new Int32Array(array.buffer, array.byteOffset, array.length))
  const upper = new Uint32Array(0x10000)
  for (const bits of views) countUpper(bits, map, upper)
  if (anyNotFinite(upper, INFINITY32, map)) return null
  const bin = binOf(upper, k)
  const lower = new Uint32Array(0x10000)
  for (const bits of views) countLower(bits, bin.index, map, lower)
  const key = (bin.index << 16) | binOf(lower, bin.rank).index
  word32[0] = key ^ map.top ^ (signOf(key, map) & map.flip)
  return float32[0]!
}

function countUpper(bits: Int32Array, { keep, flip, top }: OrderMap, histogram: Uint32Array): void {
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i]!
    const bin = ((word & keep) ^ ((word >> 31) & flip) ^ top) >>> 16
    histogram[bin] = histogram[bin]! + 1
  }
}

function countLower(bits: Int32Array, upper: number, { keep, flip, top }: OrderMap, histogram: Uint32Array): void {
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i]!
    const key = (word & keep) ^ ((word >> 31) & flip) ^ top
    if (key >>> 16 !== upper) continue
    const bin = key & 0xffff
    histogram[bin] = histogram[bin]! + 1
  }
}

/** Four passes of 16 bits; float32 arrays among them are widened, which keeps their order. */
function select64(arrays: readonly FloatArray[], k: number, map: OrderMap): number | null {
  let high = 0 // the bits of the key found so far
  let low = 0
  let rank = k
  const histogram = new Uint32Array(0x10000)
  for (let pass = 0; pass < 4; pass++) {
    histogram.fill(0)
    for (const array of arrays) countDigit(array, pass, high, low, map, histogram)
    if (pass === 0 && anyNotFinite(histogram, INFINITY64, map)) return null
    const bin = binOf(histogram, rank)
    rank = bin.rank
    if (pass < 2) high |= bin.index << (pass === 0 ? 16 : 0)
    else low |= bin.index << (pass === 2 ? 16 : 0)
  }
  const sign = signOf(high, map)
  words64[HIGH] = high ^ map.top ^ (sign & map.flip)
  words64[LOW] = low ^ (sign & (map.flip ? -1 : 0))
  return float64[0]!
}

/** Counts digit `pass` of the keys whose earlier digits are those of `high` and `low`. */
function countDigit(
  array: FloatArray,
  pass: number,
  high: number,
  low: number,
  { keep, flip, top }: OrderMap,
  histogram: Uint32Array,
): void {
  const highMask = pass === 0 ? 0 : pass === 1 ? 0xffff0000 : 0xffffffff
  const lowMask = pass === 3 ? 0xffff0000 : 0
  const lowFlip = flip ? -1 : 0
  for (let i = 0; i < array.length; i++) {
    float64[0] = array[i]!
    const word = words64[HIGH]!
    const sign = word >> 31
    const h = (word & keep) ^ (sign & flip) ^ top
    const l = words64[LOW]! ^ (sign & lowFlip)
    if (((h ^ high) & highMask) !== 0 || ((l ^ low) & lowMask) !== 0) continue
    const digits = pass < 2 ? h : l
    const bin = pass % 2 === 0 ? digits >>> 16 : digits & 0xffff
    histogram[bin] = histogram[bin]! + 1
  }
}

/** -1 where the key is that of a negative number, 0 otherwise: its top bit is clear, and set for the others. */
const signOf = (key: number, { top }: OrderMap): number => (top === 0 || key < 0 ? 0 : -1)

/** Whether anything counted by the upper 16 bits of its key is infinite or NaN, of either sign. */
function anyNotFinite(histogram: Uint32Array, infinity: number, { top }: OrderMap): boolean {
  const any = (from: number, to: number) => histogram.subarray(from, to).some((n) => n > 0)
  return top === 0 ? any(infinity, 0x8000) : any(infinity + 0x8000, 0x10000) || any(0, 0x8000 - infinity)
}

/** The bin that holds the `rank`-th largest, and its rank within that bin. */
function binOf(histogram: Uint32Array, rank: number): { index: number; rank: number } {
  let left = rank
  let index = histogram.length - 1
  for (; index > 0 && histogram[index]! < left; index--) left -= histogram[index]!
  return { index, rank: left }
}

const word32 = new Int32Array(1)
const float32 = new Float32Array(word32.buffer)
const float64 = new Float64Array(1)
const words64 = new Int32Array(float64.buffer)
float64[0] = 1 // 0x3ff00000 00000000 tells which word is the high one on this machine
const HIGH = words64[1] === 0 ? 0 : 1
const LOW = 1 - HIGH
