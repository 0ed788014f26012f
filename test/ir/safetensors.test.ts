import { describe, expect, it } from 'vitest'
import { decodeSafetensors, encodeSafetensors, encodeSafetensorsChunks } from '../../src/ir/safetensors.js'
import { type Tensor, tensor } from '../../src/ir/tensor.js'
import { crc32 } from '../../src/util/checksum.js'
import { thrownMessage } from '../thrown.js'

const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, 'latin1'))

const tensors: Readonly<Record<string, Tensor>> = {
  '7': tensor('uint8', [3], Uint8Array.of(0, 1, 1)), // a number as a name, which objects list first
  'conv.weight': tensor('float32', [2, 1, 2], Float32Array.of(1, -0, Number.NaN, Number.MIN_VALUE)),
  'moment/wörter 重み': tensor('float64', [2], Float64Array.of(Math.PI, Number.NEGATIVE_INFINITY)),
  scalar: tensor('float32', [], Float32Array.of(0.1)),
  empty: tensor('int64', [0, 4], new BigInt64Array(0)),
  ['__proto__']: tensor('bool', [1], Uint8Array.of(1)),
  i64: tensor('int64', [2], BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n)),
  u64: tensor('uint64', [1], BigUint64Array.of(2n ** 64n - 1n)),
  i32: tensor('int32', [1], Int32Array.of(-5)),
  u32: tensor('uint32', [1], Uint32Array.of(2 ** 32 - 1)),
  i16: tensor('int16', [1], Int16Array.of(-5)),
  u16: tensor('uint16', [1], Uint16Array.of(65535)),
  i8: tensor('int8', [1], Int8Array.of(-5)),
  f16: tensor('float16', [1], Uint16Array.of(0x3c00)),
  bf16: tensor('bfloat16', [1], Uint16Array.of(0x3f80)),
}
const metadata = {
  state: JSON.stringify({ step: 12, key: [1, -2] }),
  '3': 'x',
  note: 'Grüße "\\\n\u0000\ud83d\ude00\ud800',
}

/** The header as anyone reads it: its length, its text. */
function header(file: Uint8Array) {
  const view = new DataView(file.buffer, file.byteOffset)
  const length = Number(view.getBigUint64(0, true))
  return { length, text: Buffer.from(file.subarray(8, 8 + length)).toString('utf8') }
}

/** A file written by hand. */
function handmade(text: string, data: ArrayLike<number> = [], length = text.length): Uint8Array {
  const file = new Uint8Array(8 + text.length + data.length)
  new DataView(file.buffer).setBigUint64(0, BigInt(length), true)
  file.set(bytesOf(text), 8)
  file.set(Array.from(data), 8 + text.length)
  return file
}

describe('safetensors', () => {
  it('reads back every type, name and text bit for bit', () => {
    const read = decodeSafetensors(encodeSafetensors({ tensors, metadata }))
    expect(read.metadata).toEqual(metadata)
    expect(Object.keys(read.tensors).sort()).toEqual(Object.keys(tensors).sort())
    for (const [name, { dtype, dims, data }] of Object.entries(tensors)) {
      const found = read.tensors[name]
      expect([name, found?.dtype, found?.dims]).toEqual([name, dtype, dims])
      expect(found?.data).toEqual(data)
      expect(found?.data.constructor).toBe(data.constructor)
    }
    expect(Object.is((read.tensors['conv.weight'] as Tensor).data[1], -0)).toBe(true)
  })

  it('writes the documented format', () => {
    const file = encodeSafetensors({ tensors, metadata })
    const { length, text } = header(file)
    expect(length % 8).toBe(0)
    expect(text).toMatch(/^\{"__metadata__":\{"crc32":"[0-9a-f]{8}",[\u0020-\u007e]*\} {0,7}$/)
    const { __metadata__, ...specs } = JSON.parse(text)
    expect(__metadata__).toEqual({ ...metadata, crc32: expect.any(String) })
    expect(specs['conv.weight']).toMatchObject({ dtype: 'F32', shape: [2, 1, 2] })
    expect(specs['7']).toMatchObject({ dtype: 'U8', shape: [3] })
    const spans = Object.values(specs as Record<string, { dtype: string; data_offsets: [number, number] }>)
    spans.sort((a, b) => a.data_offsets[0] - b.data_offsets[0] || a.data_offsets[1] - b.data_offsets[1])
    let end = 0
    for (const { dtype, data_offsets } of spans) {
      expect(data_offsets[0]).toBe(end)
      const bits = dtype === 'BOOL' ? 8 : Number(dtype.replace(/\D+/, ''))
      expect(data_offsets[0] % (bits / 8)).toBe(0)
      end = data_offsets[1]
    }
    expect(file.length).toBe(8 + length + end)
    const [begin] = specs['i64'].data_offsets as [number, number]
    expect(new DataView(file.buffer).getBigInt64(8 + length + begin, true)).toBe(-(2n ** 63n))
  })

  it('writes the CRC-32 of the file, computed with the checksum field set to 0', () => {
    const file = encodeSafetensors({ tensors, metadata })
    const stated = header(file).text.slice(26, 34)
    file.set(bytesOf('00000000'), 8 + 26)
    expect(crc32(file).toString(16).padStart(8, '0')).toBe(stated)
  })

  it('encodes chunks without copying the elements', () => {
    const weights = Float32Array.of(1, 2, 3)
    const [first, second, ...more] = encodeSafetensorsChunks({
      tensors: { w: tensor('float32', [3], weights) },
      metadata: {},
    })
    expect(second?.buffer).toBe(weights.buffer)
    expect(more).toEqual([])
    const file = encodeSafetensors({ tensors: { w: tensor('float32', [3], weights) }, metadata: {} })
    expect(file.subarray(0, first?.length)).toEqual(first)
  })

  it('reads views of aligned bytes and copies of others', () => {
    const file = encodeSafetensors({ tensors, metadata })
    const aligned = decodeSafetensors(file).tensors['i64'] as Tensor
    expect((aligned.data as BigInt64Array).buffer).toBe(file.buffer)
    const shifted = new Uint8Array(file.length + 1)
    shifted.set(file, 1)
    expect(decodeSafetensors(shifted.subarray(1)).tensors['i64']).toEqual(aligned)
  })

  it('without tensors and metadata is read back empty', () => {
    const read = decodeSafetensors(encodeSafetensors({ tensors: {}, metadata: {} }))
    expect(read).toEqual({ tensors: {}, metadata: {} })
  })

  it('rejects tensors and names that it could not read back', () => {
    const message = (named: Record<string, Tensor>, metadata = {}) =>
      thrownMessage('invalid-data', () => encodeSafetensors({ tensors: named, metadata }))
    expect(message({ q: tensor('int4', [2], new Uint8Array(1)) })).toMatch("tensor 'q' is int4 [2]")
    expect(message({ s: tensor('string', [1], ['a']) })).toMatch("tensor 's' is string [1]")
    expect(message({ x: { dtype: 'float32', dims: [3], data: new Float32Array(2) } })).toMatch('but has 2 elements')
    expect(message({ __metadata__: tensor('int8', [0], new Int8Array(0)) })).toMatch('reserved')
    expect(message({}, { crc32: '' })).toMatch('reserved')
  })
})

describe('a damaged safetensors file', () => {
  const file = encodeSafetensors({
    tensors: { w: tensor('float32', [2], Float32Array.of(1, 2)), mask: tensor('uint8', [3], new Uint8Array(3)) },
    metadata: { step: '3' },
  })
  const message = (bytes: Uint8Array, options?: { checksum: boolean }) =>
    thrownMessage('damaged', () => decodeSafetensors(bytes, options))

  it('is detected whichever byte changes', () => {
    expect(decodeSafetensors(file).metadata).toEqual({ step: '3' })
    for (let at = 0; at < file.length; at++) {
      for (const flip of [1, 128, 255]) {
        const changed = file.slice()
        changed[at] = (changed[at] ?? 0) ^ flip
        message(changed)
      }
    }
  })

  it('is detected wherever it is cut, and if bytes are added', () => {
    for (let length = 0; length < file.length; length++) message(file.subarray(0, length))
    expect(message(file.subarray(0, 5))).toMatch(/ 5 bytes.* 8 bytes/)
    expect(message(file.subarray(0, 20))).toMatch(/header .* \d+ bytes, but 12 follow/)
    expect(message(file.subarray(0, file.length - 2))).toMatch(
      new RegExp(` ${file.length - 2} bytes.*header .* ${file.length}`),
    )
    expect(message(Uint8Array.of(...file, 0))).toMatch(new RegExp(` ${file.length + 1} bytes`))
  })

  it('is detected if only the elements or only the checksum changed', () => {
    const changed = file.slice()
    changed[file.length - 1] = 7
    expect(message(changed)).toMatch(/its checksum is [0-9a-f]{8} instead of [0-9a-f]{8}/)
    expect(message(changed, { checksum: false })).toMatch('its checksum is')
  })

  const one = (spec: string, data: ArrayLike<number> = [0, 0, 0, 0]) => handmade(`{"a":${spec}}`, data)
  it.each([
    ['random bytes', Uint8Array.from({ length: 64 }, (_, i) => (i * 197 + 91) & 255), 'but 56 follow'],
    ['a header that is not JSON', handmade('{"a":'), /header .*JSON/],
    ['a header that is a list', handmade('[]'), /header .*JSON object/],
    ['an unknown type', one('{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}'), 'unknown type "F8_E4M3"'],
    ['an inherited name as type', one('{"dtype":"toString","shape":[4],"data_offsets":[0,4]}'), 'unknown type'],
    ['a missing type', one('5'), /tensor 'a' .*type undefined/],
    ['a negative size', one('{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}'), /shape .*tensor 'a'/],
    ['a missing shape', one('{"dtype":"U8","data_offsets":[0,4]}'), /shape .*tensor 'a'/],
    [
      'an excessive shape',
      one('{"dtype":"U8","shape":[9007199254740991,9007199254740991],"data_offsets":[0,4]}'),
      'does not fill',
    ],
    ['a wrong shape', one('{"dtype":"F32","shape":[2],"data_offsets":[0,4]}'), 'does not fill bytes 0 to 4'],
    ['reversed offsets', one('{"dtype":"U8","shape":[4],"data_offsets":[4,0]}'), 'does not fill bytes 4 to 0'],
    ['one offset', one('{"dtype":"U8","shape":[4],"data_offsets":[4]}'), 'does not fill'],
    ['a gap', one('{"dtype":"U8","shape":[2],"data_offsets":[2,4]}'), /tensor 'a' .*byte 2, .* 0/],
    [
      'an overlap',
      handmade(
        '{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
        [1, 2, 3, 4],
      ),
      /tensor 'b' .*byte 2, .* 3/,
    ],
    ['metadata values that are not strings', handmade('{"__metadata__":{"step":3}}'), 'metadata'],
  ])('is rejected for %s', (_, bytes, expected) => {
    expect(message(bytes, { checksum: false })).toMatch(expected)
  })

  it('is rejected for a header above the limit of the format, without reading it', () => {
    const huge = new Uint8Array(8 + 100_000_001)
    new DataView(huge.buffer).setBigUint64(0, BigInt(huge.length - 8), true)
    expect(message(huge, { checksum: false })).toMatch('100000000')
  })

  it('is distinguished from a valid file without a checksum, of another program', () => {
    const other = handmade('{"w":{"shape":[1],"dtype":"U8","data_offsets":[0,1]},"__metadata__":{"format":"pt"}} ', [9])
    expect(message(other)).toMatch('does not begin with a checksum')
    expect(decodeSafetensors(other, { checksum: false }).metadata).toEqual({ format: 'pt' })
  })
})
