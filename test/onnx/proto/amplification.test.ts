import { describe, expect, it } from 'vitest'
import { decodeModel, encodeModel } from '../../../src/onnx/model.js'
import { decode } from '../../../src/onnx/proto/decode.js'
import { encode } from '../../../src/onnx/proto/encode.js'
import { create, edit, getOrigin } from '../../../src/onnx/proto/message.js'
import { readTensor } from '../../../src/onnx/proto/tensor.js'
import { cpuTimeOf } from '../../cpu-time.js'
import { thrownMessage } from '../../thrown.js'

const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)])
/** A field of bytes with its tag and length. */
const field = (number: number, content: Uint8Array) =>
  Buffer.concat([Uint8Array.from([...varint(number * 8 + 2), ...varint(content.length)]), content])
const packed = (count: number) => Buffer.alloc(count, 1)

describe('memory of decoded lists', () => {
  it('integers > 8 bytes each, packed or not', () => {
    const ints = decode('AttributeProto', field(8, packed(1_000_000))).ints
    expect(ints).toBeInstanceOf(BigInt64Array)
    expect(ints).toHaveLength(1_000_000)
    const single = decode('AttributeProto', Uint8Array.of(0x40, 5, 0x40, 6)).ints
    expect(single).toEqual(BigInt64Array.of(5n, 6n))
  })

  it('integers > are written one by one, and packed ones stay packed', () => {
    const created = encode('AttributeProto', create('AttributeProto', { ints: [5n, 6n] }))
    expect([...created]).toEqual([0x40, 5, 0x40, 6])
    const run = decode('AttributeProto', Uint8Array.of(0x42, 2, 5, 6))
    expect([...encode('AttributeProto', edit(run, { ints: [7n, 8n, 9n] }))]).toEqual([0x42, 3, 7, 8, 9])
  })

  it('dims > a tensor of more than 64 axes is refused before its dims become numbers', () => {
    const proto = (axes: number) =>
      decode('TensorProto', Buffer.concat([field(1, packed(axes)), Uint8Array.of(0x10, 1)]))
    expect(proto(1_000_000).dims).toBeInstanceOf(BigInt64Array)
    expect(thrownMessage('invalid-model', () => readTensor(proto(1_000_000), null, 'w'))).toMatch(
      /"w" has 1000000 axes/,
    )
    expect(thrownMessage('invalid-model', () => readTensor(proto(65), null, 'w'))).toMatch(/65 axes; at most 64/)
    const one = edit(proto(64), { rawData: new Uint8Array(4) })
    expect(readTensor(one, null, 'w').dims).toHaveLength(64)
  })
})

describe('origins of messages', () => {
  const nodes = Buffer.concat(Array<Uint8Array>(200_000).fill(field(1, field(2, Buffer.from('y')))))

  it('many messages > repeated decoding does not become slower', async () => {
    const decoded: { readonly result: object; readonly seconds: number }[] = []
    for (let i = 0; i < 5; i++) decoded.push(await cpuTimeOf(() => decode('GraphProto', nodes)))
    const [first, ...later] = decoded.map(({ seconds }) => seconds)
    expect(Math.max(...later)).toBeLessThan(10 * first! + 1)
  })

  it('belong to decoded messages and their edits, not to copies', () => {
    const graph = decode('GraphProto', nodes.subarray(0, 5))
    const renamed = edit(edit(graph, { name: 'a' }), { name: 'b' })
    expect(getOrigin(graph)).toMatchObject({ message: graph, start: 0, end: 5 })
    expect(getOrigin(renamed)?.message).toBe(graph)
    expect(getOrigin({ ...graph })).toBeUndefined()
    expect(getOrigin(create('GraphProto', {}))).toBeUndefined()
    expect(Reflect.ownKeys(graph)).toEqual(Reflect.ownKeys(create('GraphProto', {})))
  })
})

describe('messages in several parts', () => {
  /** A model whose graph contains a graph in an attribute, and so on; every level occurs in two parts. */
  function splitModel(levels: number, bytes: number): Uint8Array {
    let graph: Uint8Array = field(10, Buffer.alloc(bytes, 97))
    for (let level = 0; level < levels; level++)
      graph = field(1, field(5, Buffer.concat([field(6, graph), field(6, new Uint8Array(0))])))
    return Buffer.concat([Uint8Array.of(8, 8), field(7, graph), field(7, new Uint8Array(0))])
  }

  it('appended parts > merge, and are written as they were', () => {
    const bytes = splitModel(1, 100)
    const model = decodeModel(bytes)
    expect(model.proto.graph?.node[0]?.attribute[0]?.g?.docString).toBe('a'.repeat(100))
    expect(Buffer.from(encodeModel(model)).equals(bytes)).toBe(true)
  })

  it('parts within parts > error instead of a copy per level', () => {
    const bytes = splitModel(20, 1_000_000)
    const before = process.memoryUsage().arrayBuffers
    const message = thrownMessage('invalid-model', () => decodeModel(bytes))
    expect(message).toMatch(/^ModelProto\.graph\.node\[0\].*several parts/)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * bytes.length)
  })
})
