import { describe, expect, it } from 'vitest'
import { parseIdx } from '../../../src/data/formats/idx.js'
import { tensor } from '../../../src/ir/tensor.js'
import { thrownMessage } from '../../thrown.js'

/** One IDX file: header bytes, big-endian dims, data bytes. */
const file = (code: number, dims: readonly number[], data: readonly number[]) => {
  const sizes = dims.flatMap((dim) => [dim >>> 24, (dim >>> 16) & 255, (dim >>> 8) & 255, dim & 255])
  return Uint8Array.of(0, 0, code, dims.length, ...sizes, ...data)
}

describe('parseIdx', () => {
  it('reads every element type', () => {
    expect(parseIdx(file(8, [2, 2], [0, 1, 128, 255]))).toEqual(tensor('uint8', [2, 2], Uint8Array.of(0, 1, 128, 255)))
    expect(parseIdx(file(9, [2], [0xff, 0x7f]))).toEqual(tensor('int8', [2], Int8Array.of(-1, 127)))
    expect(parseIdx(file(11, [2], [0x01, 0x02, 0xff, 0xfe]))).toEqual(tensor('int16', [2], Int16Array.of(258, -2)))
    expect(parseIdx(file(12, [1, 2], [0, 1, 0, 0, 0x80, 0, 0, 0]))).toEqual(
      tensor('int32', [1, 2], Int32Array.of(65536, -(2 ** 31))),
    )
    expect(parseIdx(file(13, [1], [0xc0, 0x20, 0, 0]))).toEqual(tensor('float32', [1], Float32Array.of(-2.5)))
    expect(parseIdx(file(14, [1], [0x3f, 0xd0, 0, 0, 0, 0, 0, 0]))).toEqual(
      tensor('float64', [1], Float64Array.of(0.25)),
    )
    expect(parseIdx(file(8, [0, 28], []))).toEqual(tensor('uint8', [0, 28], new Uint8Array(0)))
  })

  it('reads a file at an odd offset of a larger buffer', () => {
    const bytes = file(12, [1], [0, 0, 1, 2])
    const buffer = new Uint8Array(bytes.length + 5)
    buffer.set(bytes, 3)
    expect(parseIdx(buffer.subarray(3, 3 + bytes.length))).toEqual(tensor('int32', [1], Int32Array.of(258)))
  })

  it.each([
    ['nothing', new Uint8Array(0), '0 bytes'],
    ['text', Uint8Array.from('label,pixel', (c) => c.charCodeAt(0)), 'bytes 0 and 1 are 108 and 97'],
    ['gzip', Uint8Array.of(0x1f, 0x8b, 8, 0), 'compressed with gzip'],
    ['an unknown type', file(10, [1], [0]), 'byte 2, the element type, is 10; it must be one of 8 (uint8)'],
    ['no dimensions', file(8, [], [1]), 'byte 3, the number of dimensions, is 0'],
    ['a header cut short', file(8, [2, 2], []).subarray(0, 10), 'ends at offset 12'],
    ['data cut short', file(11, [3], [0, 1, 0, 2]), 'int16 elements [3] from offset 8 require a file of 14 bytes'],
    ['extra bytes', file(8, [2], [1, 2, 3]), '10 bytes, but it has 11'],
    ['excessive dimensions', file(14, [0xffffffff, 0xffffffff, 0xffffffff], [1]), 'more bytes than any file has'],
  ])('rejects %s', (_, bytes, message) => {
    expect(thrownMessage('invalid-data', () => parseIdx(bytes))).toMatch(message)
  })

  it('rejects every truncation of a file', () => {
    const bytes = file(11, [2, 2], [1, 2, 3, 4, 5, 6, 7, 8])
    for (let length = 0; length < bytes.length; length++)
      thrownMessage('invalid-data', () => parseIdx(bytes.subarray(0, length)))
    expect(parseIdx(bytes).dims).toEqual([2, 2])
  })
})
