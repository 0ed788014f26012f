import type { FloatArray } from '../../ir/float-array.js'
import { wasmMemoryOf } from '../../ir/wasm-memory.js'
import { OnnxIreError } from '../../util/errors.js'
import { type Bytes, block, code, type Func, get, i32, memory, repeatWhile, set, tee } from '../expr/wasm/assembler.js'
import { getSharedWasm, getWasm, kernelMemoryBytes } from '../expr/wasm/instance.js'
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
  const [counts] = (yield [countUpperDigits(arrays, order)]) as readonly [Uint32Array]
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
/** To copy to counts: V8 fills shared memory element by element. */
const noCounts = new Uint32Array(digitValues)

/**
 * Counts the upper digits of float32 numbers: 16 bits of sign, exponent and leading mantissa. By magnitude, a number is
 * counted at the digit of either sign.
 * @returns counts by digit, valid until the next call of a counting function
 */
function countUpperDigits(arrays: readonly Float32Array[], order: Order): Uint32Array {
  const counter = counterFor(arrays)
  const counts = emptyCounts(counter)
  // An increment waits for the one before it: neighbors, which are often both 0, are counted at different signs.
  const [kept, odd] = order === 'magnitude' ? [signBit - 1, signBit] : [digitValues - 1, 0]
  countWords(arrays, counter, {
    vectors: (counter, at, count) => counter.upper(at, count, kept, odd),
    word: (word) => counts[word >>> 16]!++,
  })
  return counts
}

/**
 * Counts the lower digits of the numbers whose word satisfies (word & mask) = pattern, and all zeros.
 * @returns counts by digit, valid until the next call of a counting function
 */
function countLowerDigits(arrays: readonly Float32Array[], mask: number, pattern: number) {
  const counter = counterFor(arrays)
  const counts = emptyCounts(counter)
  const zeros = counter ? new Int32Array(counter.buffer, counter.offset + zerosAt, 4).fill(0) : []
  let zero = 0
  countWords(arrays, counter, {
    vectors: (counter, at, count) => counter.lower(at, count, mask, pattern),
    word: (word) => {
      if ((word & 0x7fffffff) === 0) zero++
      if ((word & mask) === pattern) counts[word & 0xffff]!++
    },
  })
  for (const negative of zeros) zero -= negative
  return { counts, zero }
}

const emptyCounts = (counter: Counter | null): Uint32Array => {
  if (!counter) return new Uint32Array(digitValues)
  const counts = new Uint32Array(counter.buffer, counter.offset, digitValues)
  counts.set(noCounts)
  return counts
}

const wordsOf = ({ buffer, byteOffset, length }: Float32Array) => new Int32Array(buffer, byteOffset, length)

/** Functions that count a number of words, divisible by four, at an address of a counter's memory, or a single word. */
interface WordCounting {
  vectors(counter: Counter, at: number, count: number): void
  word(word: number): void
}

/** Counts all words of arrays. */
function countWords(arrays: readonly Float32Array[], counter: Counter | null, { vectors, word }: WordCounting): void {
  if (!counter) {
    for (const words of arrays.map(wordsOf)) for (let i = 0; i < words.length; i++) word(words[i]!)
    return
  }
  const chunkAt = counter.offset + wordsAt
  const chunk = new Int32Array(counter.buffer, chunkAt, chunkWords)
  let filled = 0
  const countChunk = () => {
    const whole = filled - (filled % 4)
    if (whole > 0) vectors(counter, chunkAt, whole)
    for (let i = whole; i < filled; i++) word(chunk[i]!)
    filled = 0
  }
  for (const array of arrays) {
    const { length, byteOffset } = array
    const within = counter.contains(array) ? length - (length % 4) : 0
    if (within > 0) vectors(counter, byteOffset, within)
    for (let from = within; from < length; ) {
      const n = Math.min(chunkWords - filled, length - from)
      chunk.set(wordsOf(array.subarray(from, from + n)), filled)
      filled += n
      from += n
      if (filled === chunkWords) countChunk()
    }
  }
  countChunk()
}

/** Functions that count words in a memory. */
interface Counter {
  readonly buffer: ArrayBufferLike
  /** The offset of the counts in the memory. */
  readonly offset: number
  /** Whether an array is in the memory, so that its words need no copy. */
  contains(array: Float32Array): boolean
  /** Counts (digit & kept), and in every second word (digit & kept) | odd. */
  upper(at: number, count: number, kept: number, odd: number): void
  lower(at: number, count: number, mask: number, pattern: number): void
}

const counters = new WeakMap<object, Counter>()

/** Returns the functions for the memory of the first array, or for that of this thread; null without WebAssembly. */
function counterFor([array]: readonly Float32Array[]): Counter | null {
  const memory = array && wasmMemoryOf(array.buffer)
  // A full memory has no room for the counts.
  const shared = memory && getSharedWasm(memory)
  const wasm = shared ?? getWasm()
  if (!wasm) return null
  let counter = counters.get(wasm)
  if (!counter) {
    const { buffer, offset } = wasm
    const { upper, lower } = wasm.instantiate<Pick<Counter, 'upper' | 'lower'>>([upperFunc(offset), lowerFunc(offset)])
    const contains = (array: Float32Array) => Boolean(shared) && wasmMemoryOf(array.buffer) === memory
    counter = { buffer, offset, contains, upper, lower }
    counters.set(wasm, counter)
  }
  return counter
}

/** Code that increments the count of the digit on the stack, in the counts at an offset. */
const increment = (address: number, offset: number): Bytes => [
  ...[...i32(2), ...code('i32.shl'), ...tee(address), ...get(address)],
  ...memory('i32.load', offset),
  ...[...i32(1), ...code('i32.add')],
  ...memory('i32.store', offset),
]

/** Code that advances by four words, and leaves on the stack whether words remain. */
const next = (at: number, end: number): Bytes => [
  ...[...get(at), ...i32(16), ...code('i32.add'), ...tee(at)],
  // The end may be 2^32, which is 0.
  ...[...get(end), ...code('i32.ne')],
]

/** A vector of four equal words of these bytes. */
const splat = (...word: Bytes): Bytes => code('v128.const', ...word, ...word, ...word, ...word)

/** Code that turns a number of words, after an address, into the address of their end. */
const toEnd = (at: number, count: number): Bytes => [
  ...[...get(at), ...get(count), ...i32(2), ...code('i32.shl'), ...code('i32.add'), ...set(count)],
]

/** Counts upper digits. Parameters: the address of the words and their number, a multiple of four; kept; odd. */
const upperFunc = (offset: number): Func => ({
  name: 'upper',
  parameters: ['i32', 'i32', 'i32', 'i32'],
  locals: ['i32'],
  body: [
    ...toEnd(0, 1),
    ...repeatWhile(
      // The upper half comes second: words are little-endian.
      [0, 4, 8, 12].flatMap((i) => [
        ...[...get(0), ...memory('i32.load16_u', i + 2), ...get(2), ...code('i32.and')],
        ...(i % 8 === 4 ? [...get(3), ...code('i32.or')] : []),
        ...increment(4, offset),
      ]),
      next(0, 1),
    ),
  ],
})

/**
 * Counts lower digits and zeros. Parameters: the address of the words and their number, a multiple of four; mask;
 * pattern. Skips four words if none matches.
 */
const lowerFunc = (offset: number): Func => ({
  name: 'lower',
  parameters: ['i32', 'i32', 'i32', 'i32'],
  locals: ['i32', 'v128', 'v128'],
  body: [
    ...toEnd(0, 1),
    ...repeatWhile(
      [...get(0), ...memory('v128.load', 0), ...set(5)],
      // A true comparison is -1.
      [...get(6), ...get(5), ...splat(0xff, 0xff, 0xff, 0x7f), ...code('v128.and'), ...splat(0, 0, 0, 0)],
      [...code('i32x4.eq'), ...code('i32x4.add'), ...set(6)],
      block(
        [...get(5)],
        [...get(2), ...code('i32x4.splat'), ...code('v128.and')],
        [...get(3), ...code('i32x4.splat'), ...code('i32x4.eq')],
        [...code('v128.any_true'), ...code('i32.eqz'), ...code('br_if', 0)],
        [0, 4, 8, 12].flatMap((i) =>
          block(
            [...get(0), ...memory('i32.load', i), ...get(2), ...code('i32.and')],
            [...get(3), ...code('i32.ne'), ...code('br_if', 0)],
            [...get(0), ...memory('i32.load16_u', i), ...increment(4, offset)],
          ),
        ),
      ),
      next(0, 1),
    ),
    ...[...i32(0), ...i32(0), ...memory('v128.load', offset + zerosAt), ...get(6), ...code('i32x4.add')],
    ...memory('v128.store', offset + zerosAt),
  ],
})
