import { removeClasses } from '../../data/model/model-usage.js'
import { numbersOf, tensorFrom } from '../../ir/leaf.js'
import type { Dim } from '../../ir/shape.js'
import { formatShape, type Shape } from '../../ir/shape.js'
import type { Tensor } from '../../ir/tensor.js'
import { sizeOf } from '../../ir/tensor.js'
import { dependenciesOf, topological } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { readShape } from '../../onnx/import/declarations.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import {
  findFunction,
  indexFunctions,
  isStandardDomain,
  listReadNames,
  sortNodes,
  walkNodes,
} from '../../onnx/import/model-nodes.js'
import type { Model } from '../../onnx/model.js'
import { isConstant } from '../../onnx/proto/constant.js'
import { create, edit, rewrite } from '../../onnx/proto/message.js'
import {
  type AttributeProto,
  attributeTypes,
  type FunctionProto,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type ValueInfoProto,
} from '../../onnx/proto/schema.js'
import { toTensorProto } from '../../onnx/proto/tensor.js'
import { definitionOf } from '../../op/op.js'
import { checkArguments, checkNames, checkNumber, count, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { Random } from '../../util/random.js'

/** Options of `replaceHead`. */
export interface HeadOptions {
  /** Name of the output whose classes are replaced. Default: the only output. */
  readonly output?: string
  /** Number of classes of the new head. */
  readonly classes: number
  /** Seed of the new weights. Default 0. */
  readonly seed?: number
}

/** A last layer before an output: its weight, its biases, and the class axis of each. */
interface Head {
  readonly node: Node
  /** The operand of the layer: the weight, or its transpose. */
  readonly operand: Value
  readonly weight: Value
  readonly weightAxis: number
  readonly biases: readonly { readonly value: Value; readonly axis: number }[]
  /** Stored shapes of the Reshape nodes between the layer and the output. */
  readonly shapes: readonly Value[]
}

/**
 * Resizes the last layer before an output for another number of classes: a Gemm, MatMul or Conv, with its bias inside
 * or in an Add, and with or without a Softmax after it. A Reshape after it takes the new number, too. If the
 * output is the sum or the mean of several last layers, as in distilled models, all of them are resized. The new
 * weights and biases are random, uniform in +-1/sqrt(inputs per output), as PyTorch initializes a linear layer. Nodes
 * and names are unchanged; class names of the old head in the metadata, those of `addUsage` and of other programs
 * (`names` of Ultralytics), are removed.
 *
 * @example
 * const model = replaceHead(await readModel('resnet18.onnx'), { classes: 5 })
 *
 * @throws OnnxIreError `invalid-option` if there is no such layer, if other nodes use its weights, or if a node
 * downstream of the layer fixes the number of classes
 */
export function replaceHead(model: Model, options: HeadOptions): Model {
  checkArguments('replaceHead(model, { classes })', { options })
  checkNames('head', options, ['output', 'classes', 'seed'])
  const { classes, seed = 0 } = options
  checkNumber('head', 'classes', classes, positiveCount)
  checkNumber('head', 'seed', seed, count)
  const graph = importGraph(model)
  const { name, value } = findOutput(graph, options)
  const heads = findHeads(value, name)
  for (const head of heads) checkUnshared(graph, head)

  const random = new Random(seed).stream('head')
  const initialize = (parameter: Value, axis: number, bound: number): [string, Tensor] => {
    const { dtype, dims } = tensorOf(parameter)
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
  const tensors = new Map(
    heads.flatMap((head) => {
      const { weight, weightAxis, biases } = head
      const fanIn = sizeOf(tensorOf(weight).dims) / (classesOf(head) ?? 1)
      const bound = 1 / Math.sqrt(fanIn)
      return [
        initialize(weight, weightAxis, bound),
        ...biases.map((bias) => initialize(bias.value, bias.axis, bound)),
        ...resizeShapes(graph, head, classes),
      ]
    }),
  )
  const changed = findChanged(model.proto.graph!, tensors)
  const resized = resizeTensors(model, tensors, changed)
  checkClasses(resized, name, classes, value.shape)
  return removeClasses(declareOutputs(model, resized, changed))
}

/** Names of the tensors of the last layers that `replaceHead` resizes. */
export interface HeadTensors {
  readonly weights: readonly string[]
  readonly biases: readonly string[]
}

/** Finds the weights and the biases, if any, of the last layers that `replaceHead` resizes. */
export function headTensors(model: Model, options: Pick<HeadOptions, 'output'>): HeadTensors {
  const { name, value } = findOutput(importGraph(model), options)
  const heads = findHeads(value, name)
  return {
    weights: heads.map(({ weight }) => weight.name!),
    biases: [...new Set(heads.flatMap(({ biases }) => biases.map((bias) => bias.value.name!)))],
  }
}

/** The output of the options, or the only one. */
function findOutput(
  graph: Graph,
  { output }: Pick<HeadOptions, 'output'>,
): { readonly name: string; readonly value: Value } {
  const name = output ?? (graph.outputs.size === 1 ? [...graph.outputs.keys()][0]! : undefined)
  const value = name === undefined ? undefined : graph.outputs.get(name)
  if (name !== undefined && value) return { name, value }
  throw new OnnxIreError(
    'invalid-option',
    `head: output must be one of the model's outputs: ${[...graph.outputs.keys()].map((key) => `'${key}'`).join(', ')}`,
  )
}

/** Names of the values of a graph that depend on some of its tensors, and of the tensors. */
function findChanged({ node: nodes }: GraphProto, tensors: ReadonlyMap<string, Tensor>): ReadonlySet<string> {
  const changed = new Set(tensors.keys())
  for (const node of sortNodes(nodes, () => false))
    if (readsAny(node, changed)) for (const name of node.output) if (name !== '') changed.add(name)
  return changed
}

const readsAny = (node: NodeProto, names: ReadonlySet<string>): boolean =>
  listReadNames(node).some((name) => names.has(name))

const tensorOf = (value: Value): Tensor => (value.source as { tensor: Tensor }).tensor

/** The last layers before an output: one, or those of which the output is the sum or the mean. */
function findHeads(output: Value, name: string): readonly Head[] {
  const refuse = (reason: string) =>
    new OnnxIreError(
      'invalid-option',
      `head: output '${name}' is not produced by a Gemm, MatMul or Conv with a stored weight (${reason}): ` +
        'choose the output of a classifier, or cut the model after its last layer',
    )
  const heads = new Map<Node, Head>()
  const walk = (from: Value, outer: Walk): void => {
    let value = from
    let { biases, shapes, scaled } = outer
    for (;;) {
      const node = value.source
      if (node.kind !== 'node') break
      const layer = layerOf(node)
      if (layer) {
        const all = layer.bias ? [layer.bias, ...biases] : biases
        const ofClasses = all.flatMap((bias) => findClassBias(bias, layer, node.operator) ?? [])
        heads.set(node, { ...layer, node, biases: ofClasses, shapes })
        return
      }
      if (sums.has(node.operator)) {
        const isBias = (x: Value | null) => node.operator === 'Add' && x?.source.kind === 'parameter'
        const terms = node.inputs.filter((x) => !isBias(x)) as readonly Value[]
        biases = [...biases, ...(node.inputs.filter(isBias) as readonly Value[])]
        if (terms.length === 0) break
        for (const term of terms) walk(term, { biases, shapes, scaled })
        return
      }
      const scale = node.operator === 'Mul' || node.operator === 'Div' ? node.inputs.findLastIndex(isFixedScalar) : -1
      if (scale === 1 || (scale === 0 && node.operator === 'Mul')) {
        value = node.inputs[1 - scale]!
        scaled = true
        // A scaled Tanh keeps the scores in an interval, as in Gemma 2.
      } else if (definitionOf(node.operator).keepsClasses || (scaled && node.operator === 'Tanh')) {
        const shape = node.operator === 'Reshape' ? node.inputs[1] : undefined
        if (shape?.source.kind === 'constant' && shape.name !== undefined) shapes = [...shapes, shape]
        value = node.inputs[0]!
      } else break
    }
    const { source } = value
    const found = source.kind === 'node' ? source.operator : `the ${source.kind}`
    throw refuse(`found ${found} '${value.name ?? '?'}'`)
  }
  walk(output, { biases: [], shapes: [], scaled: false })

  const found = [...heads.values()]
  const upstream = new Set(topological(found.flatMap(({ node }) => dependenciesOf(node))))
  if (found.some(({ node }) => upstream.has(node)))
    throw refuse('found a sum of the result of a layer and of layers after it')
  const lengths = new Set(found.map(classesOf))
  if (lengths.size > 1) throw refuse(`found a sum or Concat of layers with ${[...lengths].join(' and ')} outputs`)
  return found
}

/** Findings about the nodes between a value and the output. */
interface Walk extends Pick<Head, 'shapes'> {
  readonly biases: readonly Value[]
  readonly scaled: boolean
}

/** Operators whose inputs are terms of a sum or a mean; Concat with a ReduceSum or ReduceMean after it. */
const sums: ReadonlySet<string> = new Set(['Add', 'Sum', 'Mean', 'Concat'])

const classesOf = ({ weight, weightAxis }: Head): number | undefined => tensorOf(weight).dims[weightAxis]

/** Whether a value has one element, which does not depend on an input of the model. */
const isFixedScalar = (x: Value | null): boolean =>
  x?.shape?.every((dim) => dim === 1) === true &&
  [x, ...topological([x]).flatMap(dependenciesOf)].every(({ source }) => source.kind !== 'input')

type HeadLayer = Pick<Head, 'operand' | 'weight' | 'weightAxis'> & { readonly bias: Value | undefined }

function layerOf(node: Node): HeadLayer | undefined {
  const [, operand, third] = node.inputs
  const { weight, axes } = readWeight(operand) ?? {}
  if (!operand || !weight || !axes || axes.length < 2) return undefined
  const bias = third?.source.kind === 'parameter' ? third : undefined
  switch (node.operator) {
    case 'MatMul':
      return { operand, weight, weightAxis: axes.at(-1)!, bias: undefined }
    case 'Gemm':
      return { operand, weight, weightAxis: axes[node.attributes['transB'] ? 0 : 1]!, bias }
    case 'Conv':
      return node.attributes['group'] === 1 ? { operand, weight, weightAxis: axes[0]!, bias } : undefined
    default:
      return undefined
  }
}

/** The stored weight of an operand, which may be its transpose, and for each axis of the operand that of the weight. */
function readWeight(
  operand: Value | null | undefined,
): { readonly weight: Value; readonly axes: readonly number[] } | undefined {
  const { source, shape } = operand ?? {}
  if (source?.kind === 'parameter') return { weight: operand!, axes: [...shape!.keys()] }
  if (source?.kind !== 'node' || source.operator !== 'Transpose') return undefined
  const [weight] = source.inputs
  if (weight?.source.kind !== 'parameter') return undefined
  const perm = source.attributes['perm'] as readonly number[] | undefined
  return { weight, axes: perm ?? [...weight.shape!.keys()].toReversed() }
}

/**
 * Returns a bias with one element per class, and its class axis. In a bias that is broadcast to the output of the
 * layer, the class axis is the last one of a matrix product, and the one before the spatial axes of a convolution. A
 * single element for all classes needs no resizing.
 */
function findClassBias(
  bias: Value,
  { weight, weightAxis }: HeadLayer,
  operator: string,
): { readonly value: Value; readonly axis: number } | undefined {
  const dims = tensorOf(bias).dims
  const classes = tensorOf(weight).dims[weightAxis]!
  if (classes !== 1 && sizeOf(dims) === 1) return undefined
  const spatialAxes = operator === 'Conv' && dims.length > 1 ? weight.shape!.length - 2 : 0
  const axis = dims.length - 1 - spatialAxes
  if (dims[axis] === classes) return { value: bias, axis }
  throw new OnnxIreError(
    'invalid-option',
    `head: bias '${bias.name}' ${formatShape(dims)} cannot be resized: it does not have one element per class (${classes} classes)`,
  )
}

function checkUnshared(graph: Graph, { operand, weight, biases }: Head): void {
  for (const shared of [weight, operand, ...biases.map(({ value }) => value)]) {
    const name = shared === operand ? weight.name : shared.name
    const users = topological(graph.outputs.values()).filter((node) => dependenciesOf(node).includes(shared))
    if (users.length > 1) {
      throw new OnnxIreError(
        'invalid-option',
        `head: tensor '${name}' cannot be resized: it is used by ${users.length} nodes (${users.map((node) => node.operator).join(', ')}). Set untie to '${name}' to give the last layer a tensor of its own`,
      )
    }
  }
}

/**
 * The stored shapes of Reshape nodes after a layer, with the new number of classes in place of the old one. A shape that
 * other nodes read, or that contains the old number several times, stays as it is.
 */
function resizeShapes(graph: Graph, head: Head, classes: number): [string, Tensor][] {
  const old = classesOf(head)
  const nodes = topological(graph.outputs.values())
  return head.shapes.flatMap((shape): [string, Tensor][] => {
    const { dtype, dims } = tensorOf(shape)
    const lengths = numbersOf(tensorOf(shape))
    const isAlone = nodes.filter((node) => dependenciesOf(node).includes(shape)).length === 1
    if (!isAlone || lengths.filter((length) => length === old).length !== 1) return []
    return [
      [
        shape.name!,
        tensorFrom(
          dtype,
          dims,
          lengths.map((length) => (length === old ? classes : length)),
        ),
      ],
    ]
  })
}

/**
 * Infers the shapes of the resized model. Throws `invalid-option` if a node downstream of the head fixes the number of
 * classes.
 */
function checkClasses(model: Model, output: string, classes: number, before: Shape | undefined): void {
  let value: Value
  try {
    value = importGraph(model).outputs.get(output)!
  } catch (cause) {
    throw new OnnxIreError(
      'invalid-option',
      `head: a node after the last layer fixes the number of classes: ${(cause as Error).message}`,
      { cause },
    )
  }
  const resized = value.shape?.some((dim, axis) => dim === classes && typeof before?.[axis] !== 'string')
  if (resized) return
  throw new OnnxIreError(
    'invalid-option',
    `head: a node after the last layer fixes the number of classes: with ${classes} classes, output '${output}' would have the shape ${formatShape(value.shape)}`,
  )
}

/**
 * Replaces tensors of a model by tensors of other sizes, and removes the declared shapes of the values that change with
 * them, also in branches of If and in functions.
 * @param changed names of the tensors and of the values downstream of them
 */
function resizeTensors(model: Model, tensors: ReadonlyMap<string, Tensor>, changed: ReadonlySet<string>): Model {
  const graph = model.proto.graph!
  const replaced = edit(graph, {
    initializer: graph.initializer.map((proto) =>
      tensors.has(proto.name ?? '') ? toTensorProto(proto.name!, tensors.get(proto.name!)!) : proto,
    ),
    node: graph.node.map((node) =>
      isConstant(node) && tensors.has(node.output[0] ?? '')
        ? replaceValue(node, tensors.get(node.output[0]!)!)
        : node.opType === 'If' && isStandardDomain(node) && readsAny(node, changed)
          ? rewrite('NodeProto', node, 'GraphProto', undeclare)
          : node,
    ),
    // Up to IR version 3 initializers are declared among the inputs.
    input: graph.input.map((info) =>
      tensors.has(info.name ?? '') ? declareDims(info, tensors.get(info.name!)!.dims) : info,
    ),
    valueInfo: graph.valueInfo.filter(({ name = '' }) => !changed.has(name)),
    output: graph.output.map((info) => (changed.has(info.name ?? '') ? declareDims(info, undefined) : info)),
  })
  const called = findCalled(
    model.proto,
    graph.node.filter((node) => readsAny(node, changed)),
  )
  const functions = model.proto.functions.map((each) =>
    called.has(each) ? edit(rewrite('FunctionProto', each, 'GraphProto', undeclare), { valueInfo: [] }) : each,
  )
  return { ...model, proto: edit(model.proto, { graph: replaced, ...(called.size > 0 && { functions }) }) }
}

/** Removes the declared shapes of a body. */
export function undeclare(body: GraphProto): GraphProto {
  const withoutDims = (info: ValueInfoProto) => (info.type?.tensorType ? declareDims(info, undefined) : info)
  return edit(body, { valueInfo: [], input: body.input.map(withoutDims), output: body.output.map(withoutDims) })
}

/** The functions that nodes call, also through other functions. */
function findCalled(model: ModelProto, nodes: readonly NodeProto[]): ReadonlySet<FunctionProto> {
  const functions = indexFunctions(model)
  const called = new Set<FunctionProto>()
  const addCalls = (node: readonly NodeProto[]) => {
    for (const each of walkNodes({ node })) {
      const callee = findFunction(functions, each)
      if (callee) called.add(callee)
    }
  }
  addCalls(nodes)
  // Iterating a Set includes the elements that are added during the iteration.
  for (const { node } of called) addCalls(node)
  return called
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
export function declareDims(info: ValueInfoProto, dims: readonly Dim[] | undefined): ValueInfoProto {
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
function declareOutputs(before: Model, resized: Model, changed: ReadonlySet<string>): Model {
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
