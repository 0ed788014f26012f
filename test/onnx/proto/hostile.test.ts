import { readFileSync } from 'node:fs'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import { describe, expect, it } from 'vitest'
import { decodeModel, encodeModel, namedTensors } from '../../../src/onnx/model.js'
import { decode } from '../../../src/onnx/proto/decode.js'
import { encode } from '../../../src/onnx/proto/encode.js'
import { create } from '../../../src/onnx/proto/message.js'
import type { GraphProto } from '../../../src/onnx/proto/schema.js'
import { OnnxIreError } from '../../../src/util/errors.js'
import { cpuTimeOf } from '../../cpu-time.js'
import { filled, smallModel } from '../sample.js'

/** The error thrown by `action`, which must be an OnnxIreError; null if `action` returns. */
function errorOf(action: () => void): OnnxIreError | null {
  try {
    action()
    return null
  } catch (error) {
    expect(error).toBeInstanceOf(OnnxIreError)
    return error as OnnxIreError
  }
}

/** Decodes a model, reads all tensors, and encodes it again. */
function use(bytes: Uint8Array): void {
  const model = decodeModel(bytes)
  const tensors = namedTensors(model)
  for (const tensor of tensors.values()) errorOf(() => tensor.data)
  expect(encodeModel(model)).toHaveLength(bytes.length)
}

const small = encode('ModelProto', smallModel())
const rich = encode('ModelProto', filled('ModelProto', 3, 1))

describe('damaged input', () => {
  it('truncated at every length > is decoded or throws OnnxIreError', () => {
    let rejected = 0
    for (let length = 0; length < small.length; length++) if (errorOf(() => use(small.subarray(0, length)))) rejected++
    expect(rejected).toBeGreaterThan(small.length * 0.8)
    expect(errorOf(() => use(small))).toBeNull()
  })

  it.each([
    ['a small model', small],
    ['a model with every kind of field', rich],
  ])('random changes to %s > are decoded or throw OnnxIreError', (_, original) => {
    const random = xoroshiro128plus(7)
    const below = (n: number) => (random.next() >>> 0) % n
    let rejected = 0
    for (let i = 0; i < 1000; i++) {
      const bytes = original.slice()
      for (let change = below(4); change >= 0; change--) bytes[below(bytes.length)] = below(256)
      if (errorOf(() => use(bytes))) rejected++
    }
    expect(rejected).toBeGreaterThan(100)
  })

  it('random bytes > throw invalid-model', () => {
    const random = xoroshiro128plus(11)
    for (let i = 0; i < 500; i++) {
      const noise = Uint8Array.from({ length: 1 + (i % 64) }, () => random.next() & 255)
      expect(errorOf(() => use(noise))?.code).toBe('invalid-model')
    }
  })

  it('the error > names the field and the byte', () => {
    const error = errorOf(() => decodeModel(small.subarray(0, 100)))
    expect(error?.message).toMatch(/^ModelProto\.graph.* byte \d+: /)
    // model.graph.node[0].attribute[0].type: a string where a number belongs
    const type = Uint8Array.of(0xa2, 1, 1, 65)
    const wrap = (tag: number, content: Uint8Array) => Uint8Array.of(tag, content.length, ...content)
    const nested = wrap(0x3a, wrap(0x0a, wrap(0x2a, type)))
    expect(errorOf(() => decodeModel(nested))?.message).toMatch(
      /^ModelProto\.graph\.node\[0\]\.attribute\[0\]\.type .* byte 8: /,
    )
  })

  it('a length beyond the end > throws without allocating', () => {
    // raw_data of 2 GiB in a 20-byte file
    const bomb = Uint8Array.of(0x4a, 0xff, 0xff, 0xff, 0xff, 0x07, ...new Uint8Array(14))
    const floats = Uint8Array.of(0x22, 0xff, 0xff, 0xff, 0xff, 0x07, 0, 0)
    const odd = Uint8Array.of(0x22, 3, 0, 0, 0)
    const cutVarint = Uint8Array.of(0x2a, 2, 1, 0x80)
    for (const [bytes, field] of [
      [bomb, 'rawData'],
      [floats, 'floatData[0]'],
      [odd, 'floatData[0]'],
      [cutVarint, 'int32Data[0]'],
    ] as const) {
      const error = errorOf(() => decode('TensorProto', bytes))
      expect(error?.code).toBe('invalid-model')
      expect(error?.message.startsWith(`TensorProto.${field} `)).toBe(true)
    }
  })

  it('deep nesting > does not overflow the stack', () => {
    let graph: GraphProto = create('GraphProto', { name: 'innermost' })
    const within = (g: GraphProto) =>
      create('GraphProto', { node: [create('NodeProto', { attribute: [create('AttributeProto', { g })] })] })
    for (let depth = 0; depth < 32; depth++) graph = within(graph)
    const bytes = encode('GraphProto', graph)
    expect(decode('GraphProto', bytes).node).toHaveLength(1)
    expect(errorOf(() => encode('GraphProto', within(within(graph))))?.code).toBe('invalid-model')
    let deep = new Uint8Array(0)
    for (let depth = 0; depth < 5000; depth++) {
      const length = deep.length
      const prefix = [0x22, (length & 127) | 128, ((length >> 7) & 127) | 128, length >> 14]
      deep = Uint8Array.from([...[[0x0a, 0x22][depth & 1] ?? 0], ...prefix.slice(1), ...deep])
    }
    expect(errorOf(() => decode('TypeProto', deep))?.code).toBe('invalid-model')
    const groups = new Uint8Array(100_000).fill((100 << 3) | 3)
    expect(errorOf(() => decode('ModelProto', groups))?.code).toBe('invalid-model')
  })

  it('a message in many parts > takes linear time', async () => {
    const piece = Uint8Array.of(0x3a, 2, 0x12, 0)
    const pieces = new Uint8Array(piece.length * 100_000)
    for (let i = 0; i < 100_000; i++) pieces.set(piece, i * piece.length)
    const floats = new Uint8Array(5 * 200_000)
    for (let i = 0; i < 200_000; i++) floats[5 * i] = (4 << 3) | 5
    const { seconds } = await cpuTimeOf(() => {
      expect(decode('ModelProto', pieces).graph?.name).toBe('')
      expect(decode('TensorProto', floats).floatData).toHaveLength(200_000)
    })
    expect(seconds).toBeLessThan(5)
  })
})

describe('bytes that are not an ONNX model', () => {
  const text = (value: string) => new Uint8Array(Buffer.from(value, 'latin1'))

  it.each([
    ['an empty file', text(''), /no bytes/],
    ['JSON', text('{"irVersion": 8}'), /JSON/],
    [
      'a Git LFS pointer',
      text('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n'),
      /git lfs pull/,
    ],
    ['a web page', text('<!DOCTYPE html><html></html>'), /web page/],
    ['a PNG', text('\x89PNG\r\n\x1a\n\0\0\0\rIHDR'), /PNG/],
    ['a PyTorch archive', text('PK\x03\x04\0\0'), /torch\.onnx\.export/],
    ['an .ort model', text('\x24\0\0\0ORTM\0\0'), /\.ort/],
    ['a message without a graph', Uint8Array.of(8, 7), /no graph/],
    [
      'a TypeScript file',
      new Uint8Array(readFileSync(new URL(import.meta.url))),
      /not an ONNX model: it is a text file/,
    ],
    ['a CSV file', text('a,b,label\n1,2,cat\n3,4,dog\n'), /not an ONNX model: it is a text file/],
  ])('%s > throws invalid-model with advice', (_, bytes, message) => {
    const error = errorOf(() => decodeModel(bytes))
    expect(error?.code).toBe('invalid-model')
    expect(error?.message).toMatch(message)
  })
})
