import type { Random } from 'onnx-ire/data'
import { dtypes } from '../../../dist/ir/dtype.js'
import { create, edit } from '../../../dist/onnx/proto/message.js'
import {
  type AttributeProto,
  attributeTypes,
  type Dimension,
  type TensorProto,
  type ValueInfoProto,
} from '../../../dist/onnx/proto/schema.js'
import { changeOne, hostileIntegers, hostileNames, hostileNumbers, pick } from '../random.js'

const utf8 = new TextEncoder()

/** Lengths of an input. */
export const dimsOf = (info: ValueInfoProto): readonly Dimension[] => info.type?.tensorType?.shape?.dim ?? []
/** Number of the element type of an input. */
export const typeOf = (info: ValueInfoProto): number => info.type?.tensorType?.elemType ?? 1

/** The numbers of all element types of ONNX, of some beyond, and of none. */
export const elementTypes: readonly number[] = [
  ...Object.values(dtypes).map(({ onnx }) => onnx),
  0,
  14,
  15,
  17,
  20,
  23,
  99,
  -1,
]

/** Names and expressions for symbolic lengths. */
export const symbols = (random: Random): readonly string[] => [
  'N',
  '',
  'N*2+1',
  'floor(N/0)',
  'N/0',
  'N-N',
  '1',
  '-1',
  '9'.repeat(400),
  `${'('.repeat(5000)}N${')'.repeat(5000)}`,
  'a+'.repeat(3000),
  `(${'x'.repeat(random.integer(300))})`,
  'min(a,b)',
  ...hostileNames,
]

/** A tensor that is damaged or has hostile elements. */
export function randomTensor(random: Random, name: string): TensorProto {
  const kind = random.integer(9)
  const dims = Array.from({ length: random.integer(4) }, () => BigInt(random.integer(4)))
  const count = dims.reduce((product, dim) => product * Number(dim), 1)
  const dataType = pick(random, elementTypes)
  if (kind === 0) return create('TensorProto', { name, dims: [-1n], dataType: 1, rawData: new Uint8Array(4) })
  if (kind === 1) return create('TensorProto', { name, dims: [2n ** 62n, 2n], dataType: 1, rawData: new Uint8Array(8) })
  if (kind === 2)
    return create('TensorProto', { name, dims: manyOf(random, 1n), dataType: 1, rawData: new Uint8Array(4) })
  if (kind === 3)
    return create('TensorProto', {
      name,
      dims,
      dataType: 1,
      dataLocation: 1,
      externalData: [create('StringStringEntryProto', { key: 'location', value: pick(random, hostileNames) })],
    })
  if (kind === 4) return create('TensorProto', { name, dims, dataType, rawData: new Uint8Array(random.integer(64)) })
  if (kind === 5)
    return create('TensorProto', {
      name,
      dims,
      dataType: 8,
      stringData: dims.map(() => utf8.encode(pick(random, hostileNames))),
    })
  if (kind === 6)
    return create('TensorProto', {
      name,
      dims,
      dataType: 7,
      int64Data: BigInt64Array.from({ length: count }, () => pick(random, hostileIntegers)),
    })
  if (kind === 7)
    return create('TensorProto', {
      name,
      dims,
      dataType: 11,
      doubleData: Float64Array.from({ length: count }, () => pick(random, hostileNumbers)),
    })
  return create('TensorProto', {
    name,
    dims,
    dataType: 1,
    floatData: Float32Array.from({ length: count }, () => pick(random, hostileNumbers)),
  })
}

/** One item, many times. */
export const manyOf = <T>(random: Random, item: T): T[] =>
  Array<T>(pick(random, [20, 20, 65, 1000, 1025, 100_000])).fill(item)

/** A tensor of hostile elements with the type and the shape of an input. */
export function tensorLike(random: Random, info: ValueInfoProto): TensorProto | undefined {
  const dims = dimsOf(info).map(({ dimValue = 1n }) => dimValue)
  const count = dims.reduce((product, dim) => product * Number(dim), 1)
  if (!(count <= 4096)) return undefined
  const common = { name: info.name, dims, dataType: typeOf(info) }
  const integer = pick(random, hostileIntegers)
  const mixed = random.integer(2) === 0
  const integers = Array.from({ length: count }, () => (mixed ? pick(random, hostileIntegers) : integer))
  const number = pick(random, hostileNumbers)
  const numbers = Array.from({ length: count }, () => (mixed ? pick(random, hostileNumbers) : number))
  switch (typeOf(info)) {
    case 1:
      return create('TensorProto', { ...common, floatData: Float32Array.from(numbers) })
    case 11:
      return create('TensorProto', { ...common, doubleData: Float64Array.from(numbers) })
    case 7:
      return create('TensorProto', { ...common, int64Data: BigInt64Array.from(integers) })
    case 12:
    case 13:
      return create('TensorProto', { ...common, uint64Data: BigUint64Array.from(integers) })
    default:
      return create('TensorProto', { ...common, int32Data: Int32Array.from(integers, Number) })
  }
}

/** An attribute of a random type, or without one. */
export function randomAttribute(random: Random, name: string): AttributeProto {
  const integers = () => Array.from({ length: random.integer(5) }, () => pick(random, hostileIntegers))
  const contents: readonly Partial<AttributeProto>[] = [
    { type: attributeTypes.int, i: pick(random, hostileIntegers) },
    { type: attributeTypes.float, f: pick(random, hostileNumbers) },
    { type: attributeTypes.string, s: utf8.encode(pick(random, hostileNames)) },
    { type: attributeTypes.string, s: Uint8Array.of(0xff, 0xfe, 0x80) },
    { type: attributeTypes.ints, ints: integers() },
    { type: attributeTypes.ints, ints: manyOf(random, pick(random, hostileIntegers)) },
    { type: attributeTypes.floats, floats: [pick(random, hostileNumbers), pick(random, hostileNumbers)] },
    { type: attributeTypes.floats, floats: [] },
    { type: attributeTypes.strings, strings: [utf8.encode(pick(random, hostileNames))] },
    { type: attributeTypes.tensor, t: randomTensor(random, 't') },
    { type: attributeTypes.tensor },
    { type: attributeTypes.graph, g: create('GraphProto', {}) },
    { type: attributeTypes.graphs, graphs: [create('GraphProto', {})] },
    { type: attributeTypes.typeProto, tp: create('TypeProto', {}) },
    { type: attributeTypes.int },
    { type: 0, i: 1n },
    { type: 99, i: 1n },
    { i: 1n, f: 2, s: utf8.encode('x') },
    { refAttrName: 'missing' },
  ]
  return create('AttributeProto', { name, ...pick(random, contents) })
}

/** Attributes of old operator sets, and of others. */
export const attributeNames: readonly string[] = [
  ...[
    'axes',
    'axis',
    'broadcast',
    'consumed_inputs',
    'to',
    'perm',
    'pads',
    'paddings',
    'value',
    'value_ints',
    'ratio',
    'is_test',
  ],
  ...[
    'spatial',
    'min',
    'max',
    'scales',
    'height_scale',
    'width_scale',
    'mode',
    'split',
    'num_outputs',
    'shape',
    'k',
    'hidden_size',
  ],
  ...[
    'starts',
    'ends',
    'keepdims',
    'epsilon',
    'momentum',
    'group',
    'num_groups',
    'dilations',
    'strides',
    'kernel_shape',
  ],
  ...[
    'auto_pad',
    'output_shape',
    'output_padding',
    'equation',
    'direction',
    'layout',
    'num_heads',
    'num_scan_inputs',
    'directions',
  ],
  ...[
    'scan_input_axes',
    'body',
    'then_branch',
    'else_branch',
    'blocksize',
    'upper',
    'allowzero',
    'exclude_outside',
    'training_mode',
  ],
]

/** An attribute of the node with another number, of the same type. */
export function extremeAttribute(random: Random, attribute: AttributeProto): AttributeProto {
  const other = <T>(items: readonly T[], from: readonly T[]) =>
    random.integer(4) === 0 ? [...items, pick(random, from)] : changeOne(random, items, () => pick(random, from))
  if (attribute.i !== undefined) return edit(attribute, { i: pick(random, hostileIntegers) })
  if (attribute.f !== undefined) return edit(attribute, { f: pick(random, hostileNumbers) })
  if (attribute.s !== undefined) return edit(attribute, { s: utf8.encode(pick(random, hostileNames)) })
  if (attribute.ints.length > 0) return edit(attribute, { ints: other([...attribute.ints], hostileIntegers) })
  if (attribute.floats.length > 0) return edit(attribute, { floats: other(attribute.floats, hostileNumbers) })
  if (attribute.t) return edit(attribute, { t: randomTensor(random, attribute.t.name ?? '') })
  return randomAttribute(random, attribute.name ?? '')
}
