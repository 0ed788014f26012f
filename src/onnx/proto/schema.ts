/**
 * The messages of ONNX up to IR version 13, with the names of onnx.proto in camelCase
 * (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). int64 is bigint. An absent scalar or message is
 * undefined, an absent list is empty. The elements of a tensor are typed arrays.
 */
export interface Messages {
  readonly AttributeProto: AttributeProto
  readonly DeviceConfigurationProto: DeviceConfigurationProto
  readonly Dimension: Dimension
  readonly FunctionProto: FunctionProto
  readonly GraphProto: GraphProto
  readonly IntIntListEntryProto: IntIntListEntryProto
  readonly MapType: MapType
  readonly ModelProto: ModelProto
  readonly NodeDeviceConfigurationProto: NodeDeviceConfigurationProto
  readonly NodeProto: NodeProto
  readonly OpaqueType: OpaqueType
  readonly OperatorSetIdProto: OperatorSetIdProto
  readonly OptionalType: OptionalType
  readonly Segment: Segment
  readonly SequenceType: SequenceType
  readonly ShardedDimProto: ShardedDimProto
  readonly ShardingSpecProto: ShardingSpecProto
  readonly SimpleShardedDimProto: SimpleShardedDimProto
  readonly SparseTensorProto: SparseTensorProto
  readonly SparseTensorType: SparseTensorType
  readonly StringStringEntryProto: StringStringEntryProto
  readonly TensorAnnotation: TensorAnnotation
  readonly TensorProto: TensorProto
  readonly TensorShapeProto: TensorShapeProto
  readonly TensorType: TensorType
  readonly TrainingInfoProto: TrainingInfoProto
  readonly TypeProto: TypeProto
  readonly ValueInfoProto: ValueInfoProto
}

export type MessageName = keyof Messages

/**
 * A list of 64-bit integers. A decoded one is a BigInt64Array: an array of bigints takes four times as much memory,
 * and a file may declare millions.
 */
export type Int64List = ArrayLike<bigint> & Iterable<bigint>

export interface ModelProto {
  readonly irVersion?: bigint | undefined
  readonly opsetImport: readonly OperatorSetIdProto[]
  readonly producerName?: string | undefined
  readonly producerVersion?: string | undefined
  readonly domain?: string | undefined
  readonly modelVersion?: bigint | undefined
  readonly docString?: string | undefined
  readonly graph?: GraphProto | undefined
  readonly metadataProps: readonly StringStringEntryProto[]
  readonly trainingInfo: readonly TrainingInfoProto[]
  readonly functions: readonly FunctionProto[]
  readonly configuration: readonly DeviceConfigurationProto[]
}

export interface GraphProto {
  readonly node: readonly NodeProto[]
  readonly name?: string | undefined
  readonly initializer: readonly TensorProto[]
  readonly sparseInitializer: readonly SparseTensorProto[]
  readonly docString?: string | undefined
  readonly input: readonly ValueInfoProto[]
  readonly output: readonly ValueInfoProto[]
  readonly valueInfo: readonly ValueInfoProto[]
  readonly quantizationAnnotation: readonly TensorAnnotation[]
  readonly metadataProps: readonly StringStringEntryProto[]
}

export interface NodeProto {
  readonly input: readonly string[]
  readonly output: readonly string[]
  readonly name?: string | undefined
  readonly opType?: string | undefined
  readonly domain?: string | undefined
  readonly overload?: string | undefined
  readonly attribute: readonly AttributeProto[]
  readonly docString?: string | undefined
  readonly metadataProps: readonly StringStringEntryProto[]
  readonly deviceConfigurations: readonly NodeDeviceConfigurationProto[]
}

export interface AttributeProto {
  readonly name?: string | undefined
  readonly refAttrName?: string | undefined
  readonly docString?: string | undefined
  /** One of `attributeTypes`. */
  readonly type?: number | undefined
  readonly f?: number | undefined
  readonly i?: bigint | undefined
  readonly s?: Uint8Array | undefined
  readonly t?: TensorProto | undefined
  readonly g?: GraphProto | undefined
  readonly sparseTensor?: SparseTensorProto | undefined
  readonly tp?: TypeProto | undefined
  readonly floats: readonly number[]
  readonly ints: Int64List
  readonly strings: readonly Uint8Array[]
  readonly tensors: readonly TensorProto[]
  readonly graphs: readonly GraphProto[]
  readonly sparseTensors: readonly SparseTensorProto[]
  readonly typeProtos: readonly TypeProto[]
}

/** AttributeProto.AttributeType */
export const attributeTypes = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
  sparseTensor: 11,
  sparseTensors: 12,
  typeProto: 13,
  typeProtos: 14,
} as const

export interface ValueInfoProto {
  readonly name?: string | undefined
  readonly type?: TypeProto | undefined
  readonly docString?: string | undefined
  readonly metadataProps: readonly StringStringEntryProto[]
}

export interface TensorProto {
  readonly dims: Int64List
  /**
   * TensorProto.DataType: the `onnx` number of an entry of `dtypes`, or of a type that this library does not support.
   */
  readonly dataType?: number | undefined
  readonly segment?: Segment | undefined
  readonly floatData: Float32Array
  readonly int32Data: Int32Array
  readonly stringData: readonly Uint8Array[]
  readonly int64Data: BigInt64Array
  readonly name?: string | undefined
  readonly docString?: string | undefined
  readonly rawData?: Uint8Array | undefined
  readonly externalData: readonly StringStringEntryProto[]
  /** TensorProto.DataLocation: 0 in the message, 1 external. */
  readonly dataLocation?: number | undefined
  readonly doubleData: Float64Array
  readonly uint64Data: BigUint64Array
  readonly metadataProps: readonly StringStringEntryProto[]
}

export interface Segment {
  readonly begin?: bigint | undefined
  readonly end?: bigint | undefined
}

export interface SparseTensorProto {
  readonly values?: TensorProto | undefined
  readonly indices?: TensorProto | undefined
  readonly dims: Int64List
}

export interface TensorShapeProto {
  readonly dim: readonly Dimension[]
}

/** The length of an axis: `dimValue` or `dimParam`, or neither if it is unknown. */
export interface Dimension {
  readonly dimValue?: bigint | undefined
  readonly dimParam?: string | undefined
  readonly denotation?: string | undefined
}

/** The type of a value. At most one of the `...Type` fields is present. */
export interface TypeProto {
  readonly tensorType?: TensorType | undefined
  readonly sequenceType?: SequenceType | undefined
  readonly mapType?: MapType | undefined
  readonly optionalType?: OptionalType | undefined
  readonly sparseTensorType?: SparseTensorType | undefined
  readonly opaqueType?: OpaqueType | undefined
  readonly denotation?: string | undefined
}

export interface TensorType {
  readonly elemType?: number | undefined
  readonly shape?: TensorShapeProto | undefined
}

export interface SparseTensorType {
  readonly elemType?: number | undefined
  readonly shape?: TensorShapeProto | undefined
}

export interface SequenceType {
  readonly elemType?: TypeProto | undefined
}

export interface OptionalType {
  readonly elemType?: TypeProto | undefined
}

export interface MapType {
  readonly keyType?: number | undefined
  readonly valueType?: TypeProto | undefined
}

export interface OpaqueType {
  readonly domain?: string | undefined
  readonly name?: string | undefined
}

export interface OperatorSetIdProto {
  readonly domain?: string | undefined
  readonly version?: bigint | undefined
}

export interface StringStringEntryProto {
  readonly key?: string | undefined
  readonly value?: string | undefined
}

export interface TensorAnnotation {
  readonly tensorName?: string | undefined
  readonly quantParameterTensorNames: readonly StringStringEntryProto[]
}

export interface FunctionProto {
  readonly name?: string | undefined
  readonly input: readonly string[]
  readonly output: readonly string[]
  readonly attribute: readonly string[]
  readonly attributeProto: readonly AttributeProto[]
  readonly node: readonly NodeProto[]
  readonly docString?: string | undefined
  readonly opsetImport: readonly OperatorSetIdProto[]
  readonly domain?: string | undefined
  readonly overload?: string | undefined
  readonly valueInfo: readonly ValueInfoProto[]
  readonly metadataProps: readonly StringStringEntryProto[]
}

export interface TrainingInfoProto {
  readonly initialization?: GraphProto | undefined
  readonly algorithm?: GraphProto | undefined
  readonly initializationBinding: readonly StringStringEntryProto[]
  readonly updateBinding: readonly StringStringEntryProto[]
}

export interface DeviceConfigurationProto {
  readonly name?: string | undefined
  readonly numDevices?: number | undefined
  readonly device: readonly string[]
}

export interface NodeDeviceConfigurationProto {
  readonly configurationId?: string | undefined
  readonly shardingSpec: readonly ShardingSpecProto[]
  readonly pipelineStage?: number | undefined
}

export interface ShardingSpecProto {
  readonly tensorName?: string | undefined
  readonly device: Int64List
  readonly indexToDeviceGroupMap: readonly IntIntListEntryProto[]
  readonly shardedDim: readonly ShardedDimProto[]
}

export interface IntIntListEntryProto {
  readonly key?: bigint | undefined
  readonly value: Int64List
}

export interface ShardedDimProto {
  readonly axis?: bigint | undefined
  readonly simpleSharding: readonly SimpleShardedDimProto[]
}

/** The sharding of an axis: `dimValue` or `dimParam` is present. */
export interface SimpleShardedDimProto {
  readonly dimValue?: bigint | undefined
  readonly dimParam?: string | undefined
  readonly numShards?: bigint | undefined
}
