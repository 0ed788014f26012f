import { type Bytes, block, code, type Func, get, i32, memory, repeatWhile, set, tee } from './assembler.js'
import { MEMORY, wasmHost } from './host.js'

/** The values of a digit of 16 bits. */
const VALUES = 0x10000
/** The counts lie at 0, a chunk of the words behind them. */
const WORDS_AT = 4 * VALUES
const CHUNK = Math.min(8192, (MEMORY - WORDS_AT) / 4)

/**
 * How many of the float32 numbers have each upper digit, the 16 bits of sign, exponent and leading mantissa bits.
 * @returns by the value of the digit; the caller's until digits are counted again
 */
export function upperCounts(arrays: readonly Float32Array[]): Uint32Array {
  const wasm = instance()
  if (wasm) return overChunks(arrays, wasm.upper)
  const counts = new Uint32Array(VALUES)
  for (const bits of arrays.map(wordsOf))
    for (let i = 0; i < bits.length; i++) {
      const digit = bits[i]! >>> 16
      counts[digit] = counts[digit]! + 1
    }
  return counts
}

/**
 * How many of those numbers whose word satisfies (word & mask) = pattern have each lower digit.
 * @returns by the value of the digit; the caller's until digits are counted again
 */
export function lowerCounts(arrays: readonly Float32Array[], mask: number, pattern: number): Uint32Array {
  const wasm = instance()
  if (wasm) return overChunks(arrays, (count) => wasm.lower(count, mask, pattern), pattern === 0)
  const counts = new Uint32Array(VALUES)
  for (const bits of arrays.map(wordsOf))
    for (let i = 0; i < bits.length; i++) {
      if ((bits[i]! & mask) !== pattern) continue
      const digit = bits[i]! & 0xffff
      counts[digit] = counts[digit]! + 1
    }
  return counts
}

const wordsOf = ({ buffer, byteOffset, length }: Float32Array) => new Int32Array(buffer, byteOffset, length)

/** @param zeros whether a word of zeros is counted: what fills up the last four is taken off again */
function overChunks(arrays: readonly Float32Array[], run: (count: number) => void, zeros = true): Uint32Array {
  const { buffer } = wasmHost()!
  const counts = new Uint32Array(buffer, 0, VALUES).fill(0)
  const words = new Int32Array(buffer, WORDS_AT, CHUNK)
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
      const n = Math.min(CHUNK - filled, length - from)
      words.set(new Int32Array(buffer, byteOffset + 4 * from, n), filled)
      filled += n
      from += n
      if (filled === CHUNK) count()
    }
  }
  if (filled > 0) count()
  if (zeros) counts[0]! -= padding
  return counts
}

interface Exports {
  upper(count: number): void
  lower(count: number, mask: number, pattern: number): void
}

let exports: Exports | null | undefined

function instance(): Exports | null {
  if (exports === undefined) exports = wasmHost()?.instantiate<Exports>([upper, lower]) ?? null
  return exports
}

/** Adds 1 to the count of the digit on the stack. */
const count = (address: number): Bytes => [
  ...[...i32(2), ...code('i32.shl'), ...tee(address), ...get(address)],
  ...memory('i32.load', 0),
  ...[...i32(1), ...code('i32.add')],
  ...memory('i32.store', 0),
]

/** Moves on by four words; leaves whether there are more. */
const next = (at: number, end: number): Bytes => [
  ...[...get(at), ...i32(16), ...code('i32.add'), ...tee(at)],
  ...[...get(end), ...code('i32.lt_s')],
]

const bytesOf = (count: number, end: number): Bytes => [...get(count), ...i32(2), ...code('i32.shl'), ...set(end)]

/** Parameter: the number of words, a multiple of four. */
const upper: Func = {
  name: 'upper',
  parameters: ['i32'],
  locals: ['i32', 'i32', 'i32'],
  body: [
    ...bytesOf(0, 2),
    ...repeatWhile(
      // The upper half comes second: words are little-endian.
      [0, 4, 8, 12].flatMap((i) => [...get(1), ...memory('i32.load16_u', WORDS_AT + i + 2), ...count(3)]),
      next(1, 2),
    ),
  ],
}

/** Parameters: the number of words, a multiple of four; mask; pattern. Most fours hold no such word and are passed over. */
const lower: Func = {
  name: 'lower',
  parameters: ['i32', 'i32', 'i32'],
  locals: ['i32', 'i32', 'i32'],
  body: [
    ...bytesOf(0, 4),
    ...repeatWhile(
      block(
        [...get(3), ...memory('v128.load', WORDS_AT)],
        [...get(1), ...code('i32x4.splat'), ...code('v128.and')],
        [...get(2), ...code('i32x4.splat'), ...code('i32x4.eq')],
        [...code('v128.any_true'), ...code('i32.eqz'), ...code('br_if', 0)],
        [0, 4, 8, 12].flatMap((i) =>
          block(
            [...get(3), ...memory('i32.load', WORDS_AT + i), ...get(1), ...code('i32.and')],
            [...get(2), ...code('i32.ne'), ...code('br_if', 0)],
            [...get(3), ...memory('i32.load16_u', WORDS_AT + i), ...count(5)],
          ),
        ),
      ),
      next(3, 4),
    ),
  ],
}
