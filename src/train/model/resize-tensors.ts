import type { Dim } from '../../ir/shape.js'
import type { Tensor } from '../../ir/tensor.js'
import { readShape } from '../../onnx/import/declarations.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { isConstant } from '../../onnx/proto/constant.js'
import { create, edit } from '../../onnx/proto/message.js'
import { type AttributeProto, attributeTypes, type NodeProto, type ValueInfoProto } from '../../onnx/proto/schema.js'
import { toTensorProto } from '../../onnx/proto/tensor.js'

/**
 * Replaces tensors of a model by tensors of other sizes, and removes the declared shapes of the values that change with
 * them.
 * @param changed names of the values downstream of the tensors
 */
export function resizeTensors(model: Model, tensors: ReadonlyMap<string, Tensor>, changed: ReadonlySet<string>): Model {
  const graph = model.proto.graph!
  const replaced = edit(graph, {
    initializer: graph.initializer.map((proto) =>
      tensors.has(proto.name ?? '') ? toTensorProto(proto.name!, tensors.get(proto.name!)!) : proto,
    ),
    node: graph.node.map((node) =>
      isConstant(node) && tensors.has(node.output[0] ?? '') ? replaceValue(node, tensors.get(node.output[0]!)!) : node,
    ),
    // Up to IR version 3 initializers are declared among the inputs.
    input: graph.input.map((info) =>
      tensors.has(info.name ?? '') ? declareDims(info, tensors.get(info.name!)!.dims) : info,
    ),
    valueInfo: graph.valueInfo.filter(({ name = '' }) => !changed.has(name) && !tensors.has(name)),
    output: graph.output.map((info) => (changed.has(info.name ?? '') ? declareDims(info, undefined) : info)),
  })
  return { ...model, proto: edit(model.proto, { graph: replaced }) }
}

function replaceValue(node: NodeProto, tensor: Tensor): NodeProto {
  const value: AttributeProto = create('AttributeProto', {
    name: 'value',
    type: attributeTypes.tensor,
    t: toTensorProto('', tensor),
  })
  return edit(node, { attribute: [value] })
}

/** Replaces the dims of a declaration; undefined leaves the shape undeclared. */
function declareDims(info: ValueInfoProto, dims: readonly Dim[] | undefined): ValueInfoProto {
  const tensorType = info.type?.tensorType
  const shape =
    dims &&
    create('TensorShapeProto', {
      dim: dims.map((dim) =>
        create(
          'Dimension',
          typeof dim === 'number' ? { dimValue: BigInt(dim) } : dim.startsWith('?') ? {} : { dimParam: dim },
        ),
      ),
    })
  return edit(info, {
    type: edit(info.type ?? create('TypeProto', {}), {
      tensorType: edit(tensorType ?? create('TensorType', {}), { shape }),
    }),
  })
}

/** Declares the inferred shapes of changed outputs, with the symbols of the original file for the other axes. */
export function declareOutputs(before: Model, resized: Model, changed: ReadonlySet<string>): Model {
  const { outputs } = importGraph(resized)
  const old = new Map(before.proto.graph!.output.map((info) => [info.name ?? '', info]))
  const graph = resized.proto.graph!
  const output = graph.output.map((info) => {
    const name = info.name ?? ''
    const shape = changed.has(name) ? outputs.get(name)?.shape : undefined
    return shape
      ? declareDims(
          info,
          shape.map((dim, axis) => keepSymbol(dim, axis, old.get(name)!)),
        )
      : info
  })
  return { ...resized, proto: edit(resized.proto, { graph: edit(graph, { output }) }) }
}

/** Returns the symbol of the original file for an axis, if any. Symbols that only inference uses become '?'. */
function keepSymbol(dim: Dim, axis: number, info: ValueInfoProto): Dim {
  if (typeof dim === 'number') return dim
  const symbol = readShape(info)?.[axis]
  return typeof symbol === 'string' ? symbol : /^[\w.]+$/.test(dim) ? dim : '?'
}
