import { tensorFrom } from '../../ir/leaf.js'
import { type Dim, formatShape, type Shape } from '../../ir/shape.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import { dependenciesOf, topological } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { shapeOf } from '../../onnx/declared.js'
import { importGraph } from '../../onnx/import.js'
import type { Model } from '../../onnx/model.js'
import { isConstant } from '../../onnx/proto/constant.js'
import { create, edit } from '../../onnx/proto/message.js'
import { type AttributeProto, attributeTypes, type NodeProto, type ValueInfoProto } from '../../onnx/proto/schema.js'
import { tensorProto } from '../../onnx/proto/tensor.js'
import { OnnxIreError } from '../../util/errors.js'
import { Random } from '../../util/random.js'

/** Options of `replaceHead`. */
export interface HeadOptions {
  /** The output whose classes are replaced. Default: the only output. */
  readonly output?: string
  /** The number of classes of the new head. */
  readonly classes: number
  /** Seed of the new head's weights. Default 0. */
  readonly seed?: number
}

/** The last layer before an output: its weight, its bias where it has one, and which of their axes counts classes. */
interface Head {
  readonly layer: Node
  readonly weight: Value
  readonly weightAxis: number
  readonly bias: Value | undefined
  readonly biasAxis: number
}

/**
 * The model with the last layer before an output (Gemm, MatMul or Conv, its bias apart or inside, a Softmax behind it or
 * not) sized for another number of classes, its weights drawn anew: uniform in +-1/sqrt(inputs per output), as PyTorch draws
 * a linear layer. Nodes and names stay as they are.
 *
 * Throws `invalid-option` when there is no such layer, when other nodes use its weights, or when something behind it fixes the number of classes.
 */
export function replaceHead(model: Model, { output, classes, seed = 0 }: HeadOptions): Model {
  if (!Number.isSafeInteger(classes) || classes < 1)
    throw new OnnxIreError('invalid-option', `head: classes is ${classes}; it is a whole number from 1 on`)
  const graph = importGraph(model)
  const name = output ?? (graph.outputs.size === 1 ? [...graph.outputs.keys()][0]! : undefined)
  const value = name === undefined ? undefined : graph.outputs.get(name)
  if (!value)
    throw new OnnxIreError(
      'invalid-option',
      `head: name one of the model's outputs: ${[...graph.outputs.keys()].map((key) => `'${key}'`).join(', ')}`,
    )
  const head = headBefore(value, name!)
  refuseSharing(graph, head)

  const random = new Random(seed).stream('head')
  const fanIn = sizeOf(tensorBehind(head.weight).dims) / (tensorBehind(head.weight).dims[head.weightAxis] ?? 1)
  const bound = 1 / Math.sqrt(fanIn)
  const drawn = (parameter: Value, axis: number): [string, Tensor] => {
    const { dtype, dims } = tensorBehind(parameter)
    const resized = dims.with(axis, classes)
    return [
      parameter.name!,
      tensorFrom(
        dtype,
        resized,
        Array.from({ length: sizeOf(resized) }, () => bound * (2 * random.uniform() - 1)),
      ),
    ]
  }
  const tensors = new Map([
    drawn(head.weight, head.weightAxis),
    ...(head.bias ? [drawn(head.bias, head.biasAxis)] : []),
  ])
  const changed = new Set([...valuesBehind(graph, head.layer)].map((x) => x.name).filter((x) => x !== undefined))
  const resized = checked(withTensors(model, tensors, changed), name!, classes, value.shape)
  return redeclared(model, resized, changed)
}

/** What depends on a layer, its own outputs included. */
function valuesBehind(graph: Graph, layer: Node): Set<Value> {
  const values = new Set(layer.outputs)
  for (const node of topological(graph.outputs.values()))
    if (dependenciesOf(node).some((x) => values.has(x))) for (const y of node.outputs) values.add(y)
  return values
}

const tensorBehind = (value: Value): Tensor => (value.source as { tensor: Tensor }).tensor

/** Operators between the last layer and the output that do with any number of classes. */
const transparent = new Set([
  'Softmax',
  'LogSoftmax',
  'Sigmoid',
  'Identity',
  'Flatten',
  'Squeeze',
  'Reshape',
  'GlobalAveragePool',
  'ReduceMean',
  'Cast',
  'Transpose',
])

function headBefore(output: Value, name: string): Head {
  let value = output
  let added: Value | undefined
  for (;;) {
    const node = value.source
    if (node.kind !== 'node') break
    const layer = layerOf(node)
    if (layer) {
      const bias = perClass(layer.bias ?? added, layer, node.operator)
      return { ...layer, layer: node, bias: bias?.value, biasAxis: bias?.axis ?? 0 }
    }
    if (node.operator === 'Add' && !added) {
      added = node.inputs.find((x) => x?.source.kind === 'parameter') ?? undefined
      const rest = node.inputs.find((x) => x !== added)
      if (!added || !rest) break
      value = rest
    } else if (transparent.has(node.operator)) value = node.inputs[0]!
    else break
  }
  const { source } = value
  throw new OnnxIreError(
    'invalid-option',
    `head: no Gemm, MatMul or Conv stands directly before the output '${name}' (met ${source.kind === 'node' ? source.operator : `the ${source.kind}`} '${value.name ?? '?'}'); ` +
      'name an output that a classifier gives, or cut the model there first',
  )
}

type Layer = Pick<Head, 'weight' | 'weightAxis' | 'bias'>

function layerOf(node: Node): Layer | undefined {
  const [, weight, third] = node.inputs
  if (weight?.source.kind !== 'parameter' || weight.shape!.length < 2) return undefined
  const bias = third?.source.kind === 'parameter' ? third : undefined
  switch (node.operator) {
    case 'MatMul':
      return { weight, weightAxis: weight.shape!.length - 1, bias: undefined }
    case 'Gemm':
      return { weight, weightAxis: node.attributes['transB'] ? 0 : 1, bias }
    case 'Conv':
      return node.attributes['group'] === 1 ? { weight, weightAxis: 0, bias } : undefined
    default:
      return undefined
  }
}

/**
 * A bias with one number per class, and the axis that counts them: in a tensor broadcast to the layer's result the last one
 * of a matrix product, the one before the image's axes of a convolution. One number for all classes fits any number of them.
 */
function perClass(
  bias: Value | undefined,
  { weight, weightAxis }: Layer,
  operator: string,
): { readonly value: Value; readonly axis: number } | undefined {
  if (!bias) return undefined
  const dims = tensorBehind(bias).dims
  const classes = tensorBehind(weight).dims[weightAxis]!
  if (classes !== 1 && sizeOf(dims) === 1) return undefined
  const behind = operator === 'Conv' && dims.length > 1 ? weight.shape!.length - 2 : 0
  const axis = dims.length - 1 - behind
  if (dims[axis] === classes) return { value: bias, axis }
  throw new OnnxIreError(
    'invalid-option',
    `head: the bias '${bias.name}' ${formatShape(dims)} does not hold one number for each of the ${classes} classes, so it cannot be resized`,
  )
}

function refuseSharing(graph: Graph, { weight, bias }: Head): void {
  for (const shared of [weight, bias]) {
    if (!shared) continue
    const users = topological(graph.outputs.values()).filter((node) => dependenciesOf(node).includes(shared))
    if (users.length > 1) {
      throw new OnnxIreError(
        'invalid-option',
        `head: '${shared.name}' is used by ${users.length} nodes (${users.map((node) => node.operator).join(', ')}), so it cannot be resized for one of them`,
      )
    }
  }
}

/** Puts tensors of other sizes into the file and takes back what it declared about the values they change. */
function withTensors(model: Model, tensors: ReadonlyMap<string, Tensor>, changed: ReadonlySet<string>): Model {
  const graph = model.proto.graph!
  const replaced = edit(graph, {
    initializer: graph.initializer.map((proto) =>
      tensors.has(proto.name ?? '') ? tensorProto(proto.name!, tensors.get(proto.name!)!) : proto,
    ),
    node: graph.node.map((node) =>
      isConstant(node) && tensors.has(node.output[0] ?? '') ? withValue(node, tensors.get(node.output[0]!)!) : node,
    ),
    // Up to IR version 3 initializers are declared among the inputs.
    input: graph.input.map((info) =>
      tensors.has(info.name ?? '') ? declared(info, tensors.get(info.name!)!.dims) : info,
    ),
    valueInfo: graph.valueInfo.filter(({ name = '' }) => !changed.has(name) && !tensors.has(name)),
    output: graph.output.map((info) => (changed.has(info.name ?? '') ? declared(info, undefined) : info)),
  })
  return { ...model, proto: edit(model.proto, { graph: replaced }) }
}

function withValue(node: NodeProto, tensor: Tensor): NodeProto {
  const value: AttributeProto = create('AttributeProto', {
    name: 'value',
    type: attributeTypes.tensor,
    t: tensorProto('', tensor),
  })
  return edit(node, { attribute: [value] })
}

/** A declaration with other dims; without dims, one that leaves the shape open. */
function declared(info: ValueInfoProto, dims: readonly Dim[] | undefined): ValueInfoProto {
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

/** Infers the resized model's shapes, which shows whether a node behind the head fixes the number of classes. */
function checked(model: Model, output: string, classes: number, before: Shape | undefined): Model {
  let value: Value
  try {
    value = importGraph(model).outputs.get(output)!
  } catch (cause) {
    throw new OnnxIreError(
      'invalid-option',
      `head: a node behind the last layer fixes the number of classes: ${(cause as Error).message}`,
      { cause },
    )
  }
  const resized = value.shape?.some((dim, axis) => dim === classes && typeof before?.[axis] !== 'string')
  if (resized) return model
  throw new OnnxIreError(
    'invalid-option',
    `head: with ${classes} classes the output '${output}' would have the shape ${formatShape(value.shape)}; a node behind the last layer fixes the number of classes`,
  )
}

/** Declares the outputs whose shapes changed, with the symbols that the file used for their other axes. */
function redeclared(before: Model, resized: Model, changed: ReadonlySet<string>): Model {
  const { outputs } = importGraph(resized)
  const old = new Map(before.proto.graph!.output.map((info) => [info.name ?? '', info]))
  const graph = resized.proto.graph!
  const output = graph.output.map((info) => {
    const name = info.name ?? ''
    const shape = changed.has(name) ? outputs.get(name)?.shape : undefined
    return shape
      ? declared(
          info,
          shape.map((dim, axis) => named(dim, axis, old.get(name)!)),
        )
      : info
  })
  return { ...resized, proto: edit(resized.proto, { graph: edit(graph, { output }) }) }
}

/** A symbol the file used for this axis stays; one that inference made up is not written. */
function named(dim: Dim, axis: number, info: ValueInfoProto): Dim {
  if (typeof dim === 'number') return dim
  const symbol = shapeOf(info)?.[axis]
  return typeof symbol === 'string' ? symbol : /^[\w.]+$/.test(dim) ? dim : '?'
}
