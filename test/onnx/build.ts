import type { DType, Tensor } from '../../src/index.js'
import { dtypes } from '../../src/ir/dtype.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { create } from '../../src/onnx/proto/message.js'
import type { AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto } from '../../src/onnx/proto/schema.js'
import { attributeTypes } from '../../src/onnx/proto/schema.js'
import { toTensorProto } from '../../src/onnx/proto/tensor.js'
import { encodeUtf8 } from '../../src/util/utf8.js'

type Content = Partial<AttributeProto>

/** The content of an attribute, distinguished by type as in the file. */
export const int = (value: number | bigint): Content => ({ type: attributeTypes.int, i: BigInt(value) })
export const float = (f: number): Content => ({ type: attributeTypes.float, f })
export const text = (value: string): Content => ({ type: attributeTypes.string, s: encodeUtf8(value) })
export const ints = (...values: readonly (number | bigint)[]): Content => ({
  type: attributeTypes.ints,
  ints: values.map(BigInt),
})
export const floats = (...values: readonly number[]): Content => ({ type: attributeTypes.floats, floats: values })
export const graph = (g: GraphProto): Content => ({ type: attributeTypes.graph, g })
export const value = (tensor: Tensor): Content => ({ type: attributeTypes.tensor, t: toTensorProto('', tensor) })

/** `node('Gemm', 'x w b', 'y', { transB: int(1) })`; `_` is an absent operand. */
export function node(
  opType: string,
  inputs: string,
  outputs: string,
  attributes: Readonly<Record<string, Content>> = {},
  domain?: string,
): NodeProto {
  return create('NodeProto', {
    opType,
    input: names(inputs),
    output: names(outputs),
    name: `${opType}_${names(outputs)[0]}`,
    attribute: Object.entries(attributes).map(([name, content]) => create('AttributeProto', { name, ...content })),
    domain,
  })
}

const names = (list: string): string[] =>
  list.split(' ').flatMap((name) => (name === '' ? [] : name === '_' ? [''] : [name]))

/** A declaration; without dims one that leaves the shape open. */
export function info(
  name: string,
  dims?: readonly (number | bigint | string)[],
  dtype: DType = 'float32',
): ValueInfoProto {
  const dim = dims?.map((length) =>
    create('Dimension', typeof length === 'string' ? { dimParam: length } : { dimValue: BigInt(length) }),
  )
  const shape = dim && create('TensorShapeProto', { dim })
  const tensorType = create('TensorType', { elemType: dtypes[dtype].onnx, shape })
  return create('ValueInfoProto', { name, type: create('TypeProto', { tensorType }) })
}

export const floats32 = (dims: readonly number[], data: readonly number[]): Tensor => ({
  dtype: 'float32',
  dims,
  data: Float32Array.from(data),
})
export const int64s = (...values: readonly number[]): Tensor => ({
  dtype: 'int64',
  dims: [values.length],
  data: BigInt64Array.from(values, BigInt),
})

export interface GraphParts {
  readonly nodes: readonly NodeProto[]
  readonly inputs?: readonly ValueInfoProto[]
  readonly outputs: readonly ValueInfoProto[]
  readonly initializers?: Readonly<Record<string, Tensor>>
}

export const graphProto = ({ nodes, inputs = [], outputs, initializers = {} }: GraphParts): GraphProto =>
  create('GraphProto', {
    name: 'test',
    node: nodes,
    input: inputs,
    output: outputs,
    initializer: Object.entries(initializers).map(([name, tensor]) => toTensorProto(name, tensor)),
  })

export function modelProto(
  parts: GraphParts,
  { opset = 17, ir = 8, more = {} }: { opset?: number; ir?: number; more?: Partial<ModelProto> } = {},
): ModelProto {
  return create('ModelProto', {
    irVersion: BigInt(ir),
    graph: graphProto(parts),
    opsetImport: [create('OperatorSetIdProto', { domain: '', version: BigInt(opset) })],
    ...more,
  })
}

export const modelBytes = (...args: Parameters<typeof modelProto>): Uint8Array =>
  encode('ModelProto', modelProto(...args))
