import { describe, expect, it } from 'vitest'
import { concatCifar, parseCifar } from '../../../src/data/formats/cifar.js'
import { thrownMessage } from '../../thrown.js'

/** A file of records: labels, then pixel (c, y, x) = (start + 7 i + 31 c + 3 y + x) mod 256. */
function file(labels: readonly (readonly number[])[], start = 0): Uint8Array {
  return Uint8Array.from(
    labels.flatMap((own, i) => [
      ...own,
      ...Array.from({ length: 3072 }, (_, at) => pixel(start, i, at >> 10, (at >> 5) & 31, at & 31)),
    ]),
  )
}
const pixel = (start: number, i: number, c: number, y: number, x: number) => (start + 7 * i + 31 * c + 3 * y + x) % 256

describe('parseCifar', () => {
  it('reads CIFAR-10', () => {
    const { pixels, labels, coarse } = parseCifar(file([[3], [0], [9]]), 10)
    expect(labels).toEqual({ dtype: 'int64', dims: [3], data: BigInt64Array.of(3n, 0n, 9n) })
    expect(coarse).toBeUndefined()
    expect([pixels.dtype, pixels.dims]).toEqual(['uint8', [3, 32, 32, 3]])
    const { data } = pixels
    for (let at = 0; at < data.length; at++) {
      const [i, y, x, c] = [Math.floor(at / 3072), Math.floor(at / 96) % 32, Math.floor(at / 3) % 32, at % 3]
      if (data[at] !== pixel(0, i, c, y, x)) throw new Error(`pixel ${at} is ${data[at]}`)
    }
  })

  it('reads CIFAR-100: superclass, then class', () => {
    const { labels, coarse } = parseCifar(file([[19, 99], [4, 30]]), 100) // biome-ignore format: records
    expect([...labels.data]).toEqual([99n, 30n])
    expect([...coarse!.data]).toEqual([19n, 4n])
  })

  it('concatenates files', () => {
    const [a, b] = [file([[1], [2]]), file([[3]], 50)]
    const whole = parseCifar(Buffer.concat([a, b]), 10)
    expect(concatCifar([parseCifar(a, 10), parseCifar(b, 10)])).toEqual(whole)
  })

  it('rejects a damaged file, with the offset', () => {
    const message = (bytes: Uint8Array, classes: 10 | 100 = 10) =>
      thrownMessage('invalid-data', () => parseCifar(bytes, classes))
    const two = file([[1], [2]])
    expect(message(two.subarray(0, 5000))).toMatch('image 1 starts at offset 3073')
    expect(message(new Uint8Array())).toMatch('image 0 starts at offset 0')
    expect(message(file([[1], [10]]))).toMatch('the class of image 1, at offset 3073, is 10; it must be below 10')
    expect(message(file([[20, 1]]), 100)).toMatch('the class of image 0, at offset 0, is 20; it must be below 20')
    expect(message(file([[1, 100]]), 100)).toMatch('at offset 1, is 100')
    expect(message(two, 100)).toMatch('the file ends at offset 6146')
  })
})
