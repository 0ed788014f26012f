import { Float16Array as LibraryFloat16Array } from '@petamoriken/float16'
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/index.js'
import { bfloat16ToNumber, float16ToNumber, numberToBfloat16, numberToFloat16 } from '../../src/ir/half.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'

type Float16Arrays = typeof LibraryFloat16Array
/** Other implementations: a library's, and the host's own where it has one (Node 24, browsers of 2025). */
const others: [string, Float16Arrays][] = [['@petamoriken/float16', LibraryFloat16Array]]
const own = (globalThis as { Float16Array?: Float16Arrays }).Float16Array
if (own) others.push(['the host', own])

const all = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits)

/** The double next to a positive one. */
function next(x: number, by: 1n | -1n): number {
  const double = Float64Array.of(x)
  const bits = new BigInt64Array(double.buffer)
  bits[0]! += by
  return double[0]!
}

/** Every positive float16, what lies halfway to the next, and the doubles beside both. */
const positive = Array.from(all.subarray(0, 0x7c00), (bits) => {
  const x = float16ToNumber(bits)
  const halfway = x + (bits === 0x7bff ? 16 : (float16ToNumber(bits + 1) - x) / 2)
  return [x, halfway, next(halfway, -1n), next(halfway, 1n), ...(x > 0 ? [next(x, -1n), next(x, 1n)] : [])]
}).flat()
const random = new Random(1)
const drawn = Array.from({ length: 200_000 }, () => (random.uniform() - 0.5) * 2 ** (45 * random.uniform() - 27))
const limits = [NaN, Infinity, -Infinity, 0, -0, 65504, 65519.99, 65520, 1e300, 5e-324, 2 ** -24, 2 ** -25, 2 ** -26]
const numbers = [...positive, ...positive.map((x) => -x), ...drawn, ...limits]

describe.each(others)('float16, as %s has it', (_, Float16Array) => {
  it('all numbers', () => {
    expect(Array.from(all, float16ToNumber)).toEqual(Array.from(new Float16Array(all.buffer)))
  })

  it('the bits of every number, of ties and of what is next to them', () => {
    const expected = new Uint16Array(new Float16Array(numbers).buffer)
    const wrong = numbers.filter((x, i) => numberToFloat16(x) !== expected[i])
    expect(wrong).toEqual([])
  })
})

describe('float16', () => {
  it('goes to numbers and back', () => {
    for (const bits of all) {
      const x = float16ToNumber(bits)
      expect(numberToFloat16(x)).toBe(Number.isNaN(x) ? 0x7e00 : bits)
    }
  })

  it('is what tensors hold', () => {
    const values = [1, -2.5, 65504, 6e-8, 0]
    const { data } = tensorFrom('float16', [5], values)
    expect([...(data as Uint16Array)]).toEqual([0x3c00, 0xc100, 0x7bff, 1, 0])
    expect(numbersOf({ dtype: 'float16', dims: [5], data })).toEqual([1, -2.5, 65504, 2 ** -24, 0])
  })
})

describe('bfloat16', () => {
  it('is the upper half of a float32', () => {
    const words = Uint32Array.from(all, (bits) => bits * 2 ** 16)
    expect(Array.from(all, bfloat16ToNumber)).toEqual(Array.from(new Float32Array(words.buffer)))
    for (const bits of all) {
      const x = bfloat16ToNumber(bits)
      expect(numberToBfloat16(x)).toBe(Number.isNaN(x) ? 0x7fc0 : bits)
    }
  })

  it('rounds ties to even', () => {
    for (let bits = 0; bits < 0x7f7f; bits++) {
      const [x, y] = [bfloat16ToNumber(bits), bfloat16ToNumber(bits + 1)]
      expect(numberToBfloat16((x + y) / 2)).toBe(bits + (bits & 1))
    }
    expect(tensorFrom('bfloat16', [2], [1, 3.4e38]).data).toEqual(Uint16Array.of(0x3f80, 0x7f80))
  })
})
