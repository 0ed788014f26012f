import { OnnxIreError } from '../errors.js'
import type { FloatArray } from '../optim/arrays.js'
import { requireFinite } from '../optim/norm.js'

/**
 * The k-th largest magnitude over all arrays together, exactly, in linear time, without sorting or copying.
 *
 * Non-negative IEEE numbers order like their bit patterns, so a histogram over the upper 16 bits finds the bin of the
 * k-th largest, and a second one over the next 16 bits of that bin's members the value itself; float64 needs four.
 * @param k from 1 (the largest) to the number of elements
 * @param what what the arrays hold, for the message
 * @throws 'not-finite' naming the array; 'invalid-option' when there is no k-th element
 */
export function kthLargestMagnitude(arrays: Readonly<Record<string, FloatArray>>, k: number, what: string): number {
  const list = Object.values(arrays)
  const total = list.reduce((sum, array) => sum + array.length, 0)
  if (!Number.isInteger(k) || k < 1 || k > total)
    throw new OnnxIreError('invalid-option', `cannot select number ${k} of ${total} values`)
  const single = list.filter((array) => array instanceof Float32Array)
  const magnitude = single.length === list.length ? select32(single, k) : select64(list, k)
  if (magnitude === null)
    for (const [name, array] of Object.entries(arrays)) requireFinite(array, name, 'flat mask', what)
  return magnitude ?? Number.NaN
}

const INFINITY32 = 0x7f80 // the upper 16 bits of float32 infinity; everything from there on is infinite or NaN
const INFINITY64 = 0x7ff0

function select32(arrays: readonly Float32Array[], k: number): number | null {
  const views = arrays.map((array) => new Uint32Array(array.buffer, array.byteOffset, array.length))
  const upper = new Uint32Array(0x8000)
  for (const bits of views) countUpper(bits, upper)
  if (hasAny(upper, INFINITY32)) return null
  const bin = binOf(upper, k)
  const lower = new Uint32Array(0x10000)
  for (const bits of views) countLower(bits, bin.index, lower)
  word32[0] = (bin.index << 16) | binOf(lower, bin.rank).index
  return float32[0]!
}

function countUpper(bits: Uint32Array, histogram: Uint32Array): void {
  for (let i = 0; i < bits.length; i++) {
    const bin = (bits[i]! & 0x7fffffff) >>> 16
    histogram[bin] = histogram[bin]! + 1
  }
}

function countLower(bits: Uint32Array, upper: number, histogram: Uint32Array): void {
  for (let i = 0; i < bits.length; i++) {
    if ((bits[i]! & 0x7fffffff) >>> 16 !== upper) continue
    const bin = bits[i]! & 0xffff
    histogram[bin] = histogram[bin]! + 1
  }
}

/** Four passes of 16 bits; float32 arrays among them are widened, which keeps their order. */
function select64(arrays: readonly FloatArray[], k: number): number | null {
  let high = 0 // the bits found so far
  let low = 0
  let rank = k
  const histogram = new Uint32Array(0x10000)
  for (let pass = 0; pass < 4; pass++) {
    histogram.fill(0)
    for (const array of arrays) countDigit(array, pass, high, low, histogram)
    if (pass === 0 && hasAny(histogram, INFINITY64)) return null
    const bin = binOf(histogram, rank)
    rank = bin.rank
    if (pass < 2) high |= bin.index << (pass === 0 ? 16 : 0)
    else low |= bin.index << (pass === 2 ? 16 : 0)
  }
  words64[HIGH] = high
  words64[LOW] = low
  return float64[0]!
}

/** Counts digit `pass` of the values whose earlier digits are those of `high` and `low`. */
function countDigit(array: FloatArray, pass: number, high: number, low: number, histogram: Uint32Array): void {
  const highMask = pass === 0 ? 0 : pass === 1 ? 0xffff0000 : 0xffffffff
  const lowMask = pass === 3 ? 0xffff0000 : 0
  for (let i = 0; i < array.length; i++) {
    float64[0] = Math.abs(array[i]!)
    const h = words64[HIGH]!
    const l = words64[LOW]!
    if (((h ^ high) & highMask) !== 0 || ((l ^ low) & lowMask) !== 0) continue
    const word = pass < 2 ? h : l
    const bin = pass % 2 === 0 ? word >>> 16 : word & 0xffff
    histogram[bin] = histogram[bin]! + 1
  }
}

/** Whether anything is counted from bin `from` on; the sign is gone, so bins end at 0x7fff. */
const hasAny = (histogram: Uint32Array, from: number): boolean => histogram.subarray(from, 0x8000).some((n) => n > 0)

/** The bin that holds the `rank`-th largest, and its rank within that bin. */
function binOf(histogram: Uint32Array, rank: number): { index: number; rank: number } {
  let left = rank
  let index = histogram.length - 1
  for (; index > 0 && histogram[index]! < left; index--) left -= histogram[index]!
  return { index, rank: left }
}

const word32 = new Uint32Array(1)
const float32 = new Float32Array(word32.buffer)
const float64 = new Float64Array(1)
const words64 = new Uint32Array(float64.buffer)
float64[0] = 1 // 0x3ff00000 00000000 tells which word is the high one on this machine
const HIGH = words64[1] === 0 ? 0 : 1
const LOW = 1 - HIGH
