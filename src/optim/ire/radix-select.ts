import type { FloatArray } from '../../ir/float-array.js'
import { OnnxIreError } from '../../util/errors.js'
import { type Bytes, block, code, type Func, get, i32, memory, repeatWhile, set, tee } from '../expr/wasm/assembler.js'
import { getWasm, kernelMemoryBytes } from '../expr/wasm/instance.js'
import type { Counting } from './counting.js'

/** Result of ranking N numbers. */
export interface Selection {
  /** The k-th largest number, or its magnitude. */
  readonly cut: number
  /** Number of values that are at most `cut`: the flat coordinates. */
  readonly flat: number
  /** Number of values that are 0. */
  readonly zero: number
}

/** All arrays of a ranking, of which a process may have a part. */
interface Ranked {
  /** Number of elements. */
  readonly total: number
  /** Whether all arrays are float32. */
  readonly isSingle: boolean
}

/**
 * Selects the k-th largest number over all arrays together, exactly, in linear time, without sorting or copying. Ranked
 * by magnitude, `cut` is the magnitude. The result is null if a number is infinite or NaN.
 *
 * IEEE bit patterns of magnitudes order like the magnitudes. A histogram of the upper 16 bits finds the bin of the k-th
 * largest number, and a second histogram, of the lower 16 bits in this bin, the number itself; float64 needs four. If
 * the arrays are divided among processes, the histograms are added up.
 * @param arrays those of this process
 * @param k from 1 (the largest) to the number of elements of all processes
 * @param ranked those of all processes
 * @throws OnnxIreError `invalid-option` if k is out of range
 */
export function* select(
  arrays: readonly FloatArray[],
  k: number,
  order: Order,
  { total, isSingle }: Ranked,
): Counting<Selection | null> {
  if (!Number.isInteger(k) || k < 1 || k > total)
    throw new OnnxIreError('invalid-option', `cannot select number ${k} of ${total} values`)
  const found = isSingle
    ? yield* selectFloat32(arrays as readonly Float32Array[], k, order)
    : yield* selectFloat64(arrays, k, order)
  if (found === null) return null
  const { value, rank, ties, zero } = found
  // -0 and 0 are a tie, which 0 represents, but 0 is ranked above -0.
  const zerosAbove = Object.is(value, -0) ? zero - ties : 0
  return { cut: value + 0, flat: total - (k - rank) + zerosAbove, zero }
}

/** The k-th largest number, its rank among equal numbers, their number, and that of zeros. */
interface Found {
  readonly value: number
  readonly rank: number
  readonly ties: number
  readonly zero: number
}

/** The upper 16 bits of a float32 infinity. Larger values are NaN. */
const infinity32 = 0x7f80
const signBit = 0x8000

/** Selects among float32 numbers: counts raw bits, and orders the counts. */
function* selectFloat32(arrays: readonly Float32Array[], k: number, order: Order): Counting<Found | null> {
  const [counts] = (yield [countUpperDigits(arrays)]) as readonly [Uint32Array]
  if ([0, signBit].some((sign) => counts.subarray(sign | infinity32, sign + signBit).some((n) => n > 0))) return null
  const bin = findBin(order === 'magnitude' ? byMagnitude(counts) : byValue(counts), k)
  const upper = order === 'magnitude' ? bin.index : bitsOfValue(bin.index)
  // As a magnitude the number may have either sign.
  const mask = order === 'magnitude' ? 0x7fff0000 : 0xffff0000 | 0
  const own = countLowerDigits(arrays, mask, upper << 16)
  const [lower, zeros] = (yield [own.counts, Uint32Array.of(own.zero)]) as readonly [Uint32Array, Uint32Array]
  // Of negative numbers the larger ones have the smaller bits.
  const reversed = upper >= signBit
  const { index, rank, count } = findBin(reversed ? lower.reverse() : lower, bin.rank)
  words32[0] = (upper << 16) | (reversed ? 0xffff - index : index)
  return { value: float32[0]!, rank, ties: count, zero: zeros[0]! }
}

/** Counts by magnitude, from counts by raw bits; in place. */
const byMagnitude = (counts: Uint32Array): Uint32Array => {
  for (let i = 0; i < signBit; i++) counts[i]! += counts[signBit | i]!
  return counts.subarray(0, signBit)
}

/** Counts in ascending order of value, from counts by raw bits: negative numbers have descending bits. */
const byValue = (counts: Uint32Array): Uint32Array => {
  const ordered = new Uint32Array(counts.length)
  ordered.set(counts.slice(signBit).reverse())
  ordered.set(counts.subarray(0, signBit), signBit)
  return ordered
}

/** The raw upper bits of index `index` of `byValue`. */
const bitsOfValue = (index: number): number => (index < signBit ? 0xffff - index : index - signBit)

const words32 = new Int32Array(1)
const float32 = new Float32Array(words32.buffer)

/**
 * The order-preserving map of one word w of a number with sign s (-1 if the sign bit is set, else 0):
 * (w & keep) ^ (s & flip) ^ top; `top` applies to the word with the sign bit only.
 */
interface OrderMap {
  readonly keep: number
  readonly flip: number
  readonly top: number
}

const magnitudeOrder: OrderMap = { keep: 0x7fffffff, flip: 0, top: 0 }
const valueOrder: OrderMap = { keep: -1, flip: 0x7fffffff, top: 0x80000000 }

/** The upper 16 bits of a float64 infinity. Larger values are NaN. */
const infinity64 = 0x7ff0

/**
 * Selects among numbers of both precisions, in four passes of 16 bits. float32 numbers are converted to float64, which
 * preserves their order.
 */
function* selectFloat64(arrays: readonly FloatArray[], k: number, order: Order): Counting<Found | null> {
  const map = order === 'magnitude' ? magnitudeOrder : valueOrder
  let high = 0 // the bits of the key found so far
  let low = 0
  let rank = k
  let ties = 0
  const histogram = new Uint32Array(0x10000)
  for (let pass = 0; pass < 4; pass++) {
    histogram.fill(0)
    for (const array of arrays) countDigit(array, pass, high, low, map, histogram)
    const [counts] = (yield [histogram]) as readonly [Uint32Array]
    if (pass === 0 && hasNonFinite(counts, map)) return null
    const bin = findBin(counts, rank)
    rank = bin.rank
    ties = bin.count
    if (pass < 2) high |= bin.index << (pass === 0 ? 16 : 0)
    else low |= bin.index << (pass === 2 ? 16 : 0)
  }
  const sign = signOf(high, map)
  words64[highWord] = high ^ map.top ^ (sign & map.flip)
  words64[lowWord] = low ^ (sign & (map.flip ? -1 : 0))
  const value = float64[0]!
  const zeros = arrays.reduce((sum, array) => sum + countZeros(array), 0)
  const [zero] = (yield [Uint32Array.of(zeros)]) as readonly [Uint32Array]
  return { value, rank, ties, zero: zero[0]! }
}

function countZeros(array: FloatArray): number {
  let count = 0
  for (let i = 0; i < array.length; i++) if (array[i] === 0) count++
  return count
}

/** Counts digit `pass` of the keys whose earlier digits equal those of `high` and `low`. */
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
    const word = words64[highWord]!
    const sign = word >> 31
    const h = (word & keep) ^ (sign & flip) ^ top
    const l = words64[lowWord]! ^ (sign & lowFlip)
    if (((h ^ high) & highMask) !== 0 || ((l ^ low) & lowMask) !== 0) continue
    const digits = pass < 2 ? h : l
    const bin = pass % 2 === 0 ? digits >>> 16 : digits & 0xffff
    histogram[bin] = histogram[bin]! + 1
  }
}

/** -1 for the key of a negative number, whose top bit is clear, else 0. */
const signOf = (key: number, { top }: OrderMap): number => (top === 0 || key < 0 ? 0 : -1)

/** Whether a histogram of the upper 16 bits of keys counts an infinity or NaN. */
function hasNonFinite(histogram: Uint32Array, { top }: OrderMap): boolean {
  const any = (from: number, to: number) => histogram.subarray(from, to).some((n) => n > 0)
  return top === 0 ? any(infinity64, 0x8000) : any(infinity64 + 0x8000, 0x10000) || any(0, 0x8000 - infinity64)
}

const float64 = new Float64Array(1)
const words64 = new Int32Array(float64.buffer)
float64[0] = 1 // the high word of 0x3ff00000 00000000 is nonzero: this finds the machine's byte order
const highWord = words64[1] === 0 ? 0 : 1
const lowWord = 1 - highWord

/** The order of a ranking: by magnitude, or by signed value. */
export type Order = 'magnitude' | 'value'

/** Finds the bin of the `rank`-th largest number, its rank within this bin, and the count of the bin. */
function findBin(histogram: Uint32Array, rank: number) {
  let left = rank
  let index = histogram.length - 1
  for (; index > 0 && histogram[index]! < left; index--) left -= histogram[index]!
  return { index, rank: left, count: histogram[index]! }
}

/** The number of values of a 16-bit digit. */
const digitValues = 0x10000
/** Memory layout: the counts at 0, then four negative counts of zeros, then a chunk of words. */
const zerosAt = 4 * digitValues
const wordsAt = zerosAt + 16
const chunkWords = Math.min(8192, (kernelMemoryBytes - wordsAt) / 4)

/**
 * Counts the upper digits of float32 numbers: 16 bits of sign, exponent and leading mantissa.
 * @returns counts by digit, valid until the next call of a counting function
 */
function countUpperDigits(arrays: readonly Float32Array[]): Uint32Array {
  const wasm = instance()
  if (wasm) {
    const { counts, padding } = countInChunks(arrays, wasm.upper)
    counts[0]! -= padding
    return counts
  }
  const counts = new Uint32Array(digitValues)
  for (const bits of arrays.map(wordsOf))
    for (let i = 0; i < bits.length; i++) {
      const digit = bits[i]! >>> 16
      counts[digit] = counts[digit]! + 1
    }
  return counts
}

/**
 * Counts the lower digits of the numbers whose word satisfies (word & mask) = pattern, and all zeros.
 * @returns counts by digit, valid until the next call of a counting function
 */
function countLowerDigits(arrays: readonly Float32Array[], mask: number, pattern: number) {
  const wasm = instance()
  if (wasm) {
    const zeros = new Int32Array(getWasm()!.buffer, zerosAt, 4).fill(0)
    const { counts, padding } = countInChunks(arrays, (count) => wasm.lower(count, mask, pattern))
    if (pattern === 0) counts[0]! -= padding
    return { counts, zero: 0 - zeros.reduce((a, b) => a + b) - padding }
  }
  const counts = new Uint32Array(digitValues)
  let zero = 0
  for (const bits of arrays.map(wordsOf))
    for (let i = 0; i < bits.length; i++) {
      if ((bits[i]! & 0x7fffffff) === 0) zero++
      if ((bits[i]! & mask) !== pattern) continue
      const digit = bits[i]! & 0xffff
      counts[digit] = counts[digit]! + 1
    }
  return { counts, zero }
}

const wordsOf = ({ buffer, byteOffset, length }: Float32Array) => new Int32Array(buffer, byteOffset, length)

/** Runs a counting function on chunks. The last one is padded by words of 0, which are counted, too. */
function countInChunks(arrays: readonly Float32Array[], run: (count: number) => void) {
  const { buffer } = getWasm()!
  const counts = new Uint32Array(buffer, 0, digitValues).fill(0)
  const words = new Int32Array(buffer, wordsAt, chunkWords)
  let filled = 0
  let padding = 0
  const count = () => {
    const whole = 4 * Math.ceil(filled / 4)
    words.fill(0, filled, whole)
    padding += whole - filled
    run(whole)
    filled = 0
  }
  for (const array of arrays) {
    const { buffer, byteOffset, length } = array
    for (let from = 0; from < length; ) {
      const n = Math.min(chunkWords - filled, length - from)
      words.set(new Int32Array(buffer, byteOffset + 4 * from, n), filled)
      filled += n
      from += n
      if (filled === chunkWords) count()
    }
  }
  if (filled > 0) count()
  return { counts, padding }
}

interface Exports {
  upper(count: number): void
  lower(count: number, mask: number, pattern: number): void
}

let exports: Exports | null | undefined

function instance(): Exports | null {
  if (exports === undefined) exports = getWasm()?.instantiate<Exports>([upperFunc, lowerFunc]) ?? null
  return exports
}

/** Code that increments the count of the digit on the stack. */
const increment = (address: number): Bytes => [
  ...[...i32(2), ...code('i32.shl'), ...tee(address), ...get(address)],
  ...memory('i32.load', 0),
  ...[...i32(1), ...code('i32.add')],
  ...memory('i32.store', 0),
]

/** Code that advances by four words, and leaves on the stack whether words remain. */
const next = (at: number, end: number): Bytes => [
  ...[...get(at), ...i32(16), ...code('i32.add'), ...tee(at)],
  ...[...get(end), ...code('i32.lt_s')],
]

/** A vector of four equal words of these bytes. */
const splat = (...word: Bytes): Bytes => code('v128.const', ...word, ...word, ...word, ...word)

const bytesOf = (count: number, end: number): Bytes => [...get(count), ...i32(2), ...code('i32.shl'), ...set(end)]

/** Counts upper digits. Parameter: the number of words, a multiple of four. */
const upperFunc: Func = {
  name: 'upper',
  parameters: ['i32'],
  locals: ['i32', 'i32', 'i32'],
  body: [
    ...bytesOf(0, 2),
    ...repeatWhile(
      // The upper half comes second: words are little-endian.
      [0, 4, 8, 12].flatMap((i) => [...get(1), ...memory('i32.load16_u', wordsAt + i + 2), ...increment(3)]),
      next(1, 2),
    ),
  ],
}

/**
 * Counts lower digits and zeros. Parameters: the number of words, a multiple of four; mask; pattern. Skips four words
 * if none matches.
 */
const lowerFunc: Func = {
  name: 'lower',
  parameters: ['i32', 'i32', 'i32'],
  locals: ['i32', 'i32', 'i32', 'v128', 'v128'],
  body: [
    ...bytesOf(0, 4),
    ...repeatWhile(
      [...get(3), ...memory('v128.load', wordsAt), ...set(6)],
      // A true comparison is -1.
      [...get(7), ...get(6), ...splat(0xff, 0xff, 0xff, 0x7f), ...code('v128.and'), ...splat(0, 0, 0, 0)],
      [...code('i32x4.eq'), ...code('i32x4.add'), ...set(7)],
      block(
        [...get(6)],
        [...get(1), ...code('i32x4.splat'), ...code('v128.and')],
        [...get(2), ...code('i32x4.splat'), ...code('i32x4.eq')],
        [...code('v128.any_true'), ...code('i32.eqz'), ...code('br_if', 0)],
        [0, 4, 8, 12].flatMap((i) =>
          block(
            [...get(3), ...memory('i32.load', wordsAt + i), ...get(1), ...code('i32.and')],
            [...get(2), ...code('i32.ne'), ...code('br_if', 0)],
            [...get(3), ...memory('i32.load16_u', wordsAt + i), ...increment(5)],
          ),
        ),
      ),
      next(3, 4),
    ),
    ...[...i32(0), ...i32(0), ...memory('v128.load', zerosAt), ...get(7), ...code('i32x4.add')],
    ...memory('v128.store', zerosAt),
  ],
}
