import type { Int64List, MessageName, Messages } from './schema.js'

export type ScalarKind = 'int32' | 'int64' | 'uint64' | 'float' | 'double' | 'string' | 'bytes'
export type PackedKind = 'int32' | 'int64' | 'uint64' | 'float' | 'double'
export type FieldKind = ScalarKind | MessageName
type FieldForm = 'one' | 'many' | 'packed' | 'compact'

/**
 * The encoding of a field: its number in onnx.proto, the kind of its elements, and its form:
 * - `one`: at most one element. `group` is the name of its oneof, if any; the last field read of a oneof counts.
 * - `many`: a list, written element by element.
 * - `packed`: a typed array, written as one run of bytes.
 * - `compact`: a typed array, written element by element.
 */
interface FieldSpec<Form extends FieldForm = FieldForm, Kind = FieldKind> {
  readonly form: Form
  readonly number: number
  readonly kind: Kind
  readonly group: string | null
}

const one = <K extends FieldKind>(number: number, kind: K, group: string | null = null): FieldSpec<'one', K> => ({
  form: 'one',
  number,
  kind,
  group,
})
const many = <K extends FieldKind>(number: number, kind: K): FieldSpec<'many', K> => ({
  form: 'many',
  number,
  kind,
  group: null,
})
const packedField = <K extends PackedKind>(number: number, kind: K): FieldSpec<'packed', K> => ({
  form: 'packed',
  number,
  kind,
  group: null,
})

const compact = <K extends PackedKind>(number: number, kind: K): FieldSpec<'compact', K> => ({
  form: 'compact',
  number,
  kind,
  group: null,
})

export const packedArrays = {
  int32: Int32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  float: Float32Array,
  double: Float64Array,
} as const

interface PackedArrays {
  readonly int32: Int32Array
  readonly int64: BigInt64Array
  readonly uint64: BigUint64Array
  readonly float: Float32Array
  readonly double: Float64Array
}

export type PackedArray = PackedArrays[PackedKind]

type Same<A, B> = [A, B] extends [B, A] ? true : false

type KindOf<T> = T extends number
  ? 'int32' | 'float' | 'double'
  : T extends bigint
    ? 'int64' | 'uint64'
    : T extends string
      ? 'string'
      : T extends Uint8Array
        ? 'bytes'
        : { [M in MessageName]: Same<T, Messages[M]> extends true ? M : never }[MessageName]

type PackedKindOf<T> = {
  [K in PackedKind]: Same<T, PackedArrays[K]> extends true ? K : never
}[PackedKind]

type SpecOf<T> = [T] extends [PackedArray]
  ? FieldSpec<'packed', PackedKindOf<T>>
  : T extends Uint8Array
    ? FieldSpec<'one', 'bytes'>
    : T extends Int64List
      ? FieldSpec<'compact', 'int64'>
      : T extends readonly (infer Item)[]
        ? FieldSpec<'many', KindOf<Item>>
        : FieldSpec<'one', KindOf<T>>

/** A spec for every field of every message in `schema.ts`, with the form and kind that follow from its type. */
type Table = {
  readonly [M in MessageName]: {
    readonly [F in keyof Messages[M]]-?: SpecOf<Exclude<Messages[M][F], undefined>>
  }
}

/** The fields of onnx.proto at IR version 13 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). */
export const fields = {
  ModelProto: {
    irVersion: one(1, 'int64'),
    producerName: one(2, 'string'),
    producerVersion: one(3, 'string'),
    domain: one(4, 'string'),
    modelVersion: one(5, 'int64'),
    docString: one(6, 'string'),
    graph: one(7, 'GraphProto'),
    opsetImport: many(8, 'OperatorSetIdProto'),
    metadataProps: many(14, 'StringStringEntryProto'),
    trainingInfo: many(20, 'TrainingInfoProto'),
    functions: many(25, 'FunctionProto'),
    configuration: many(26, 'DeviceConfigurationProto'),
  },
  GraphProto: {
    node: many(1, 'NodeProto'),
    name: one(2, 'string'),
    initializer: many(5, 'TensorProto'),
    docString: one(10, 'string'),
    input: many(11, 'ValueInfoProto'),
    output: many(12, 'ValueInfoProto'),
    valueInfo: many(13, 'ValueInfoProto'),
    quantizationAnnotation: many(14, 'TensorAnnotation'),
    sparseInitializer: many(15, 'SparseTensorProto'),
    metadataProps: many(16, 'StringStringEntryProto'),
  },
  NodeProto: {
    input: many(1, 'string'),
    output: many(2, 'string'),
    name: one(3, 'string'),
    opType: one(4, 'string'),
    attribute: many(5, 'AttributeProto'),
    docString: one(6, 'string'),
    domain: one(7, 'string'),
    overload: one(8, 'string'),
    metadataProps: many(9, 'StringStringEntryProto'),
    deviceConfigurations: many(10, 'NodeDeviceConfigurationProto'),
  },
  AttributeProto: {
    name: one(1, 'string'),
    f: one(2, 'float'),
    i: one(3, 'int64'),
    s: one(4, 'bytes'),
    t: one(5, 'TensorProto'),
    g: one(6, 'GraphProto'),
    floats: many(7, 'float'),
    ints: compact(8, 'int64'),
    strings: many(9, 'bytes'),
    tensors: many(10, 'TensorProto'),
    graphs: many(11, 'GraphProto'),
    docString: one(13, 'string'),
    tp: one(14, 'TypeProto'),
    typeProtos: many(15, 'TypeProto'),
    type: one(20, 'int32'),
    refAttrName: one(21, 'string'),
    sparseTensor: one(22, 'SparseTensorProto'),
    sparseTensors: many(23, 'SparseTensorProto'),
  },
  ValueInfoProto: {
    name: one(1, 'string'),
    type: one(2, 'TypeProto'),
    docString: one(3, 'string'),
    metadataProps: many(4, 'StringStringEntryProto'),
  },
  TensorProto: {
    dims: compact(1, 'int64'),
    dataType: one(2, 'int32'),
    segment: one(3, 'Segment'),
    floatData: packedField(4, 'float'),
    int32Data: packedField(5, 'int32'),
    stringData: many(6, 'bytes'),
    int64Data: packedField(7, 'int64'),
    name: one(8, 'string'),
    rawData: one(9, 'bytes'),
    doubleData: packedField(10, 'double'),
    uint64Data: packedField(11, 'uint64'),
    docString: one(12, 'string'),
    externalData: many(13, 'StringStringEntryProto'),
    dataLocation: one(14, 'int32'),
    metadataProps: many(16, 'StringStringEntryProto'),
  },
  Segment: { begin: one(1, 'int64'), end: one(2, 'int64') },
  SparseTensorProto: { values: one(1, 'TensorProto'), indices: one(2, 'TensorProto'), dims: compact(3, 'int64') },
  TensorShapeProto: { dim: many(1, 'Dimension') },
  Dimension: {
    dimValue: one(1, 'int64', 'value'),
    dimParam: one(2, 'string', 'value'),
    denotation: one(3, 'string'),
  },
  TypeProto: {
    tensorType: one(1, 'TensorType', 'value'),
    sequenceType: one(4, 'SequenceType', 'value'),
    mapType: one(5, 'MapType', 'value'),
    denotation: one(6, 'string'),
    opaqueType: one(7, 'OpaqueType', 'value'),
    sparseTensorType: one(8, 'SparseTensorType', 'value'),
    optionalType: one(9, 'OptionalType', 'value'),
  },
  TensorType: { elemType: one(1, 'int32'), shape: one(2, 'TensorShapeProto') },
  SparseTensorType: { elemType: one(1, 'int32'), shape: one(2, 'TensorShapeProto') },
  SequenceType: { elemType: one(1, 'TypeProto') },
  OptionalType: { elemType: one(1, 'TypeProto') },
  MapType: { keyType: one(1, 'int32'), valueType: one(2, 'TypeProto') },
  OpaqueType: { domain: one(1, 'string'), name: one(2, 'string') },
  OperatorSetIdProto: { domain: one(1, 'string'), version: one(2, 'int64') },
  StringStringEntryProto: { key: one(1, 'string'), value: one(2, 'string') },
  TensorAnnotation: { tensorName: one(1, 'string'), quantParameterTensorNames: many(2, 'StringStringEntryProto') },
  FunctionProto: {
    name: one(1, 'string'),
    input: many(4, 'string'),
    output: many(5, 'string'),
    attribute: many(6, 'string'),
    node: many(7, 'NodeProto'),
    docString: one(8, 'string'),
    opsetImport: many(9, 'OperatorSetIdProto'),
    domain: one(10, 'string'),
    attributeProto: many(11, 'AttributeProto'),
    valueInfo: many(12, 'ValueInfoProto'),
    overload: one(13, 'string'),
    metadataProps: many(14, 'StringStringEntryProto'),
  },
  TrainingInfoProto: {
    initialization: one(1, 'GraphProto'),
    algorithm: one(2, 'GraphProto'),
    initializationBinding: many(3, 'StringStringEntryProto'),
    updateBinding: many(4, 'StringStringEntryProto'),
  },
  DeviceConfigurationProto: { name: one(1, 'string'), numDevices: one(2, 'int32'), device: many(3, 'string') },
  NodeDeviceConfigurationProto: {
    configurationId: one(1, 'string'),
    shardingSpec: many(2, 'ShardingSpecProto'),
    pipelineStage: one(3, 'int32'),
  },
  ShardingSpecProto: {
    tensorName: one(1, 'string'),
    device: compact(2, 'int64'),
    indexToDeviceGroupMap: many(3, 'IntIntListEntryProto'),
    shardedDim: many(4, 'ShardedDimProto'),
  },
  IntIntListEntryProto: { key: one(1, 'int64'), value: compact(2, 'int64') },
  ShardedDimProto: { axis: one(1, 'int64'), simpleSharding: many(2, 'SimpleShardedDimProto') },
  SimpleShardedDimProto: {
    dimValue: one(1, 'int64', 'dim'),
    dimParam: one(2, 'string', 'dim'),
    numShards: one(3, 'int64'),
  },
} as const satisfies Table

/** A field spec with the name of the field. */
export interface Field extends FieldSpec {
  readonly name: string
}

/** The fields of a message type. */
export interface MessageType {
  readonly name: MessageName
  /** All fields in the order of their numbers. */
  readonly fields: readonly Field[]
  readonly byNumber: ReadonlyMap<number, Field>
  /** The values of absent lists, by field name. */
  readonly empty: Readonly<Record<string, unknown>>
}

const typeOf = (name: MessageName): MessageType => {
  const list = Object.entries<FieldSpec>(fields[name])
    .map(([name, spec]) => ({ name, ...spec }))
    .sort((a, b) => a.number - b.number)
  const lists = list.filter(({ form }) => form !== 'one')
  const none = ({ form, kind }: Field) =>
    form !== 'many' ? new packedArrays[kind as PackedKind](0) : Object.freeze([])
  return {
    name,
    fields: list,
    byNumber: new Map(list.map((field) => [field.number, field])),
    empty: Object.freeze(Object.fromEntries(lists.map((field) => [field.name, none(field)]))),
  }
}

export const messageTypes = Object.fromEntries(
  (Object.keys(fields) as MessageName[]).map((name) => [name, typeOf(name)]),
) as Readonly<Record<MessageName, MessageType>>

export const isMessage = (kind: FieldKind): kind is MessageName => kind in fields
