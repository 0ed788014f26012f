import { Float16Array } from '@petamoriken/float16'
import { expect, it } from 'vitest'
import { halfToNumber, numberToHalf } from '../../src/ir/half.js'
import { Random } from '../../src/random.js'

/** The bits that another implementation gives. */
const bitsOf = (value: number) => new Uint16Array(Float16Array.of(value).buffer)[0]!

it('knows what all bits stand for', () => {
  const all = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits)
  expect(Array.from(all, halfToNumber)).toEqual(Array.from(new Float16Array(all.buffer)))
  const back = all.map((bits) => (Number.isNaN(halfToNumber(bits)) ? bits : numberToHalf(halfToNumber(bits))))
  expect(back).toEqual(all)
})

it('rounds to the nearest, ties to even', () => {
  const random = new Random(1)
  const near = (x: number) => [x, x * (1 + 2 ** -50), x * (1 - 2 ** -50), -x]
  const values = [0, -0, NaN, Infinity, -Infinity, 65504, 65519.999, 65520, 1e9, 2 ** -14, 2 ** -24, 2 ** -25, 2 ** -26]
  for (let bits = 0; bits < 0x7c00; bits += 7)
    values.push(...near((halfToNumber(bits) + halfToNumber(Math.min(bits + 1, 0x7bff))) / 2))
  for (let i = 0; i < 20_000; i++) values.push((random.uniform() - 0.5) * 2 ** (40 * random.uniform() - 24))
  expect(values.filter((value) => numberToHalf(value) !== bitsOf(value))).toEqual([])
})
