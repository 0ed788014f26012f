import type { FloatArray } from '../ir/float-array.js'
import { binOf, type Order } from './histogram.js'

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

/** The upper 16 bits of infinity; everything from there on is infinite or NaN. */
const INFINITY = 0x7ff0

/**
 * `kthLargest` of numbers some of which are float64, in four passes of 16 bits: float32 ones are widened, which keeps their
 * order.
 */
export function selectDouble(arrays: readonly FloatArray[], k: number, order: Order): number | null {
  const map = order === 'magnitude' ? byMagnitude : byValue
  let high = 0 // the bits of the key found so far
  let low = 0
  let rank = k
  const histogram = new Uint32Array(0x10000)
  for (let pass = 0; pass < 4; pass++) {
    histogram.fill(0)
    for (const array of arrays) countDigit(array, pass, high, low, map, histogram)
    if (pass === 0 && anyNotFinite(histogram, map)) return null
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
function anyNotFinite(histogram: Uint32Array, { top }: OrderMap): boolean {
  const any = (from: number, to: number) => histogram.subarray(from, to).some((n) => n > 0)
  return top === 0 ? any(INFINITY, 0x8000) : any(INFINITY + 0x8000, 0x10000) || any(0, 0x8000 - INFINITY)
}

const float64 = new Float64Array(1)
const words64 = new Int32Array(float64.buffer)
float64[0] = 1 // 0x3ff00000 00000000 tells which word is the high one on this machine
const HIGH = words64[1] === 0 ? 0 : 1
const LOW = 1 - HIGH
