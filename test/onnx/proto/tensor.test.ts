import { describe, expect, it } from 'vitest'
import { type DType, dtypes } from '../../../src/ir/dtype.js'
import type { Tensor, TensorData } from '../../../src/ir/tensor.js'
import { decode } from '../../../src/onnx/proto/decode.js'
import { encode } from '../../../src/onnx/proto/encode.js'
import { externalFiles } from '../../../src/onnx/proto/external-data.js'
import { create } from '../../../src/onnx/proto/message.js'
import type { TensorProto } from '../../../src/onnx/proto/schema.js'
import { copyElements, readTensor, replaceData, toTensorProto } from '../../../src/onnx/proto/tensor.js'
import { OnnxIreError } from '../../../src/util/errors.js'
import { thrownError } from '../../thrown.js'
import { errorAt } from '../errors.js'

const entry = (key: string, value: string) => create('StringStringEntryProto', { key, value })

/** A proto after a trip through bytes. */
const sent = (fields: Partial<TensorProto>): TensorProto =>
  decode('TensorProto', encode('TensorProto', create('TensorProto', { name: 't', ...fields })))

const samples: Readonly<Record<DType, { data: TensorData; other: TensorData }>> = {
  float32: { data: Float32Array.of(1.5, -0, Number.NaN), other: Float32Array.of(0, Infinity, 3) },
  float64: { data: Float64Array.of(Math.PI, -0, 5e-324), other: Float64Array.of(1, 2, 3) },
  float16: { data: Uint16Array.of(0x3c00, 0xfbff, 0x8000), other: Uint16Array.of(0xffff, 0, 1) },
  bfloat16: { data: Uint16Array.of(0x3f80, 0xff80, 0x8000), other: Uint16Array.of(0xffff, 0, 1) },
  int8: { data: Int8Array.of(-128, 0, 127), other: Int8Array.of(-1, 5, 6) },
  int16: { data: Int16Array.of(-32768, 0, 32767), other: Int16Array.of(-1, 5, 6) },
  int32: { data: Int32Array.of(-(2 ** 31), 0, 2 ** 31 - 1), other: Int32Array.of(-1, 5, 6) },
  int64: { data: BigInt64Array.of(-(2n ** 63n), 0n, 2n ** 63n - 1n), other: BigInt64Array.of(-1n, 5n, 6n) },
  uint8: { data: Uint8Array.of(0, 128, 255), other: Uint8Array.of(1, 2, 3) },
  uint16: { data: Uint16Array.of(0, 32768, 65535), other: Uint16Array.of(1, 2, 3) },
  uint32: { data: Uint32Array.of(0, 2 ** 31, 2 ** 32 - 1), other: Uint32Array.of(1, 2, 3) },
  uint64: { data: BigUint64Array.of(0n, 2n ** 63n, 2n ** 64n - 1n), other: BigUint64Array.of(1n, 2n, 3n) },
  // Three elements in two bytes.
  int4: { data: Uint8Array.of(0xf8, 0x07), other: Uint8Array.of(0x12, 0x03) },
  uint4: { data: Uint8Array.of(0xf8, 0x0f), other: Uint8Array.of(0x12, 0x03) },
  bool: { data: Uint8Array.of(1, 0, 1), other: Uint8Array.of(0, 1, 0) },
  string: { data: ['', 'größe', '€'], other: ['a', 'b', ''] },
}
const cases = (Object.keys(samples) as DType[]).map((dtype) => [dtype, samples[dtype]] as const)
const rawOf = (data: TensorData) => {
  if (!ArrayBuffer.isView(data)) throw new TypeError('strings have no raw form')
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

/** The typed field ONNX prescribes for each type, written out independently of the code under test. */
function typedFields(dtype: DType, data: TensorData): Partial<TensorProto> {
  switch (dtype) {
    case 'float32':
      return { floatData: data as Float32Array }
    case 'float64':
      return { doubleData: data as Float64Array }
    case 'int64':
      return { int64Data: data as BigInt64Array }
    case 'uint64':
      return { uint64Data: data as BigUint64Array }
    case 'uint32':
      return { uint64Data: BigUint64Array.from(data as Uint32Array, BigInt) }
    case 'string':
      return { stringData: (data as readonly string[]).map((text) => new Uint8Array(Buffer.from(text))) }
    default:
      return { int32Data: Int32Array.from(data as Int32Array) }
  }
}

const holds = (tensor: Tensor, dtype: DType, data: TensorData) => {
  expect(tensor.dtype).toBe(dtype)
  expect(tensor.dims).toEqual([3])
  expect(tensor.data).toEqual(data)
}

describe.each(cases)('%s', (dtype, { data, other }) => {
  const dataType = dtypes[dtype].onnx
  const replacement: Tensor = { dtype, dims: [3], data: other }

  it('is read from its typed field, and replaced in it', () => {
    const proto = sent({ dims: [3n], dataType, ...typedFields(dtype, data) })
    holds(readTensor(proto, null), dtype, data)
    const replaced = replaceData(proto, replacement)
    expect(replaced.rawData).toBeUndefined()
    holds(readTensor(sent(replaced), null), dtype, other)
  })

  it('is read as toTensorProto writes it', () => {
    holds(readTensor(sent(toTensorProto('t', { dtype, dims: [3], data })), null), dtype, data)
  })

  if (dtype === 'string') return

  it('is read from raw data at every alignment, and replaced in it', () => {
    for (let shift = 0; shift < 8; shift++) {
      const raw = rawOf(data)
      const shifted = new Uint8Array([...new Uint8Array(shift), ...raw]).subarray(shift)
      holds(readTensor(create('TensorProto', { dims: [3n], dataType, rawData: shifted }), null), dtype, data)
    }
    const proto = sent({ dims: [3n], dataType, rawData: rawOf(data) })
    const replaced = replaceData(proto, replacement)
    expect(replaced.rawData).toEqual(rawOf(other))
    holds(readTensor(sent(replaced), null), dtype, other)
  })

  it('is read from external data with offset and length, and replaced', () => {
    const raw = rawOf(data)
    const external = externalFiles(new Map([['w.bin', new Uint8Array([9, 9, 9, ...raw, 9])]]))
    const at = [entry('location', 'w.bin'), entry('offset', '3'), entry('length', String(raw.length))]
    const proto = sent({ dims: [3n], dataType, dataLocation: 1, externalData: at })
    holds(readTensor(proto, external), dtype, data)
    holds(readTensor(sent({ ...proto, externalData: at.slice(0, 2) }), external), dtype, data)
    const replaced = replaceData(proto, replacement)
    expect(replaced.dataLocation).toBe(1)
    holds(readTensor(replaced, external), dtype, other)
  })
})

describe('a tensor', () => {
  it('data > is decoded once, when first read', () => {
    let reads = 0
    const external = { read: () => new Uint8Array(8 + 0 * ++reads) }
    const proto = sent({ dims: [2n], dataType: 1, dataLocation: 1, externalData: [entry('location', 'w')] })
    const tensor = readTensor(proto, external)
    expect(reads).toBe(0)
    expect(tensor.data).toBe(tensor.data)
    expect(reads).toBe(1)
  })

  it('external data > are copied in blocks, from memory if they are decoded', () => {
    const values = Float64Array.from({ length: 2 ** 20 + 3 }, (_, i) => i)
    const bytes = new Uint8Array(values.buffer)
    const lengths: number[] = []
    const external = {
      read: (_: string, offset: number, length = 0) => {
        lengths.push(length)
        return bytes.slice(offset - 8, offset - 8 + length)
      },
    }
    const externalData = [entry('location', 'w'), entry('offset', '8')]
    const dims = [BigInt(values.length)]
    const tensor = readTensor(sent({ dims, dataType: 11, dataLocation: 1, externalData }), external)
    const copy = () => {
      const copied = new Float64Array(values.length)
      copyElements(tensor, copied)
      return copied
    }
    // toEqual takes seconds for a million elements.
    const isSame = (data: TensorData) => {
      const { buffer, byteOffset, byteLength } = data as Float64Array
      return Buffer.compare(new Uint8Array(buffer, byteOffset, byteLength), bytes) === 0
    }
    expect(isSame(copy())).toBe(true)
    expect(lengths).toEqual([2 ** 23, 24])
    expect(isSame(tensor.data)).toBe(true)
    expect(isSame(copy())).toBe(true)
    expect(lengths).toHaveLength(3)
  })

  it('aligned raw data > is not copied', () => {
    const rawData = new Uint8Array(8)
    expect(
      (readTensor(create('TensorProto', { dims: [2n], dataType: 1, rawData }), null).data as Float32Array).buffer,
    ).toBe(rawData.buffer)
  })

  it('can be a scalar, or empty', () => {
    expect(readTensor(sent({ dataType: 1, floatData: Float32Array.of(7) }), null)).toMatchObject({ dims: [] })
    expect(readTensor(sent({ dims: [0n, 5n], dataType: 7 }), null).data).toHaveLength(0)
  })
})

describe('an invalid tensor', () => {
  const errorOf = (fields: Partial<TensorProto>, look: (tensor: Tensor) => unknown = (tensor) => tensor.data) =>
    thrownError(() => look(readTensor(sent(fields), null)))

  it.each<[string, Partial<TensorProto>, RegExp]>([
    ['a negative dimension', { dims: [2n, -1n], dataType: 1 }, /\[2, -1\]/],
    ['impossible dimensions', { dims: [2n ** 40n, 2n ** 40n], dataType: 1 }, /\[1099511627776, 1099511627776\]/],
    ['an impossible dimension and no elements', { dims: [2n ** 62n, 0n], dataType: 1 }, /\[4611686018427387904, 0\]/],
    [
      'impossible dimensions',
      { dims: Array(64).fill(2n ** 50n), dataType: 1 },
      /1125899906842624, \.\.\. \(64 in all\)\]$/,
    ],
    ['a million dimensions', { dims: Array(1e6).fill(1n), dataType: 1 }, /1000000 axes/],
    ['too little raw data', { dims: [3n], dataType: 1, rawData: new Uint8Array(8) }, / 12 bytes .* 8\b/],
    ['too many elements', { dims: [1n], dataType: 7, int64Data: BigInt64Array.of(1n, 2n) }, / 1 elements .* 2\b/],
    ['elements in the wrong field', { dims: [1n], dataType: 1, int32Data: Int32Array.of(1) }, /floatData .* 0\b/],
    ['no data at all', { dims: [2n ** 40n], dataType: 1 }, / 1099511627776 elements /],
    ['raw strings', { dims: [1n], dataType: 8, rawData: new Uint8Array(1) }, /type string/],
    ['segments', { dims: [1n], dataType: 1, segment: create('Segment', {}) }, /segments/],
    ['type complex64', { dims: [1n], dataType: 14 }, /complex64/],
    ['type float8e4m3fn', { dims: [1n], dataType: 17, rawData: new Uint8Array(1) }, /float8e4m3fn/],
    ['type float4e2m1', { dims: [1n], dataType: 23, rawData: new Uint8Array(1) }, /float4e2m1/],
    ['an unknown type', { dims: [1n], dataType: 99 }, /unknown type 99/],
    ['no type', { dims: [1n] }, /undefined type/],
  ])('%s > data is read > throws invalid-model with the name and the error', (_, fields, fault) => {
    const error = errorOf(fields)
    expect(error).toEqual(errorAt('invalid-model', fault))
    expect(error.message).toContain('"t"')
  })

  it('unsupported type > throws only when the tensor is used', () => {
    const proto = sent({ dims: [1n], dataType: 17, rawData: new Uint8Array(1) })
    const tensor = readTensor(proto, null)
    expect(() => tensor.dtype).toThrow(OnnxIreError)
  })

  it.each<[string, string[][], RegExp]>([
    ['without a location', [], /path/],
    [
      'with a bad offset',
      [
        ['location', 'w'],
        ['offset', '-4'],
      ],
      /offset "-4"/,
    ],
    [
      'with an impossible offset',
      [
        ['location', 'w'],
        ['offset', '99999999999999999999'],
      ],
      /"99999999999999999999"/,
    ],
    [
      'of another length',
      [
        ['location', 'w'],
        ['length', '5'],
      ],
      / 4 bytes.* 5\b/,
    ],
    ['that is not available', [['location', 'w']], /"w"/],
    ['outside of the folder', [['location', '../w']], /"\.\.\/w"/],
  ])('external data %s > data is read > throws external-data with the name and the error', (_, entries, fault) => {
    const externalData = entries.map(([key = '', value = '']) => entry(key, value))
    const error = errorOf({ dims: [1n], dataType: 1, dataLocation: 1, externalData })
    expect(error).toEqual(errorAt('external-data', fault))
    expect(error.message).toContain('"t"')
  })
})
