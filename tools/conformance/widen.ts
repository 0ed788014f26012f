import { numbersOf } from '../../dist/ir/leaf.js'
import { create, edit, rewrite } from '../../dist/onnx/proto/message.js'
import {
  type AttributeProto,
  attributeTypes,
  type GraphProto,
  type ModelProto,
  type NodeProto,
} from '../../dist/onnx/proto/schema.js'
import { readTensor, toTensorProto } from '../../dist/onnx/proto/tensor.js'

/** Values of TensorProto.DataType. */
const float32 = 1
const float16 = 10
const float64 = 11
const bfloat16 = 16

/** Wider type per floating-point type, by TensorProto.DataType; other types are unchanged. */
export type Widening = ReadonlyMap<number, number>

export const toFloat64: Widening = new Map([
  [float32, float64],
  [float16, float64],
  [bfloat16, float64],
])
export const toFloat32: Widening = new Map([
  [float16, float32],
  [bfloat16, float32],
])

/** Converts a model to wider floating-point types: tensors, declarations, and attributes that name a type. */
export function widenModel(model: ModelProto, types: Widening): ModelProto {
  const tensors = rewrite('ModelProto', model, 'TensorProto', (proto) => {
    const type = types.get(proto.dataType ?? 0)
    if (type === undefined) return proto
    const tensor = readTensor(proto, null)
    const { dims } = tensor
    const values = numbersOf(tensor)
    const wide =
      type === float64
        ? ({ dtype: 'float64', dims, data: Float64Array.from(values) } as const)
        : ({ dtype: 'float32', dims, data: Float32Array.from(values) } as const)
    return toTensorProto(proto.name ?? '', wide)
  })
  const declared = rewrite('ModelProto', tensors, 'TensorType', (type) => {
    const to = types.get(type.elemType ?? 0)
    return to === undefined ? type : edit(type, { elemType: to })
  })
  const nodes = rewrite('ModelProto', declared, 'NodeProto', (node) => {
    const attribute = node.attribute.map((each) => widenedAttribute(node, each, types))
    return attribute.every((each, i) => each === node.attribute[i]) ? node : edit(node, { attribute })
  })
  return types.has(float32) ? rewrite('ModelProto', nodes, 'GraphProto', narrowScales) : nodes
}

/** Resize takes its scales in float32 only. */
function narrowScales(graph: GraphProto): GraphProto {
  const node = graph.node.flatMap((each) => {
    const scales = each.opType === 'Resize' ? each.input[2] : undefined
    if (!scales) return [each]
    const narrow = `${each.output[0]}/scales`
    const to = create('AttributeProto', { name: 'to', type: attributeTypes.int, i: BigInt(float32) })
    const cast = create('NodeProto', { opType: 'Cast', input: [scales], output: [narrow], attribute: [to] })
    return [cast, edit(each, { input: each.input.with(2, narrow) })]
  })
  return node.length === graph.node.length ? graph : edit(graph, { node })
}

function widenedAttribute(node: NodeProto, attribute: AttributeProto, types: Widening): AttributeProto {
  const { name, i, f, floats } = attribute
  const type = types.get(Number(i ?? 0n))
  if ((name === 'to' || name === 'dtype') && type !== undefined) return edit(attribute, { i: BigInt(type) })
  // Constants given as plain numbers are float32 by definition.
  const constant = node.opType === 'Constant' && types.get(float32) === float64
  if (constant && name === 'value_float') return tensorAttribute([], [f ?? 0])
  if (constant && name === 'value_floats') return tensorAttribute([floats.length], floats)
  return attribute
}

const tensorAttribute = (dims: readonly number[], values: readonly number[]): AttributeProto =>
  create('AttributeProto', {
    name: 'value',
    type: attributeTypes.tensor,
    t: toTensorProto('', { dtype: 'float64', dims, data: Float64Array.from(values) }),
  })
