import { removeClasses } from '../../data/model/model-usage.js'
import { numbersOf, tensorFrom } from '../../ir/leaf.js'
import { formatShape, type Shape } from '../../ir/shape.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import { dependenciesOf, topological } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { checkArguments, checkNames, checkNumber, count, positiveCount } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { Random } from '../../util/random.js'
import { classesOf, findHeads, findOutput, type Head, tensorOf } from './find-head.js'
import { declareOutputs, findChanged, resizeTensors } from './resize-tensors.js'
import { findSharedTensors, untieTensors } from './untie-tensors.js'

/** Options of `replaceHead`. */
export interface HeadOptions {
  /** Name of the output whose classes are replaced. Default: the only output. */
  readonly output?: string
  /** Number of classes of the new head. */
  readonly classes: number
  /** Seed of the new weights. Default 0. */
  readonly seed?: number
}

/**
 * Resizes the last layer before an output for another number of classes: a Gemm, MatMul or Conv, with its bias inside
 * or in an Add, and with or without a Softmax after it. A Reshape after it takes the new number, too. If the
 * output is the sum or the mean of several last layers, as in distilled models, all of them are resized. The new
 * weights and biases are random, uniform in +-1/sqrt(inputs per output), as PyTorch initializes a linear layer. A bias
 * that other layers share is separated from theirs; other nodes and names are unchanged. Class names of the old head in
 * the metadata, those of `addUsage` and of other programs (`names` of Ultralytics), are removed.
 *
 * @example
 * const model = replaceHead(await readModel('resnet18.onnx'), { classes: 5 })
 *
 * @throws OnnxIreError `invalid-option` if there is no such layer, if other nodes use its weight, or if a node
 * downstream of the layer fixes the number of classes
 */
export function replaceHead(model: Model, options: HeadOptions): Model {
  checkArguments('replaceHead(model, { classes })', { options })
  checkNames('head', options, ['output', 'classes', 'seed'])
  const { classes, seed = 0 } = options
  checkNumber('head', 'classes', classes, positiveCount)
  checkNumber('head', 'seed', seed, count)
  const separate = separateBiases(model, options)
  const graph = importGraph(separate)
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
  const changed = findChanged(separate.proto.graph!, tensors)
  const resized = resizeTensors(separate, tensors, changed)
  checkClasses(resized, name, classes, value.shape)
  return removeClasses(declareOutputs(separate, resized, changed))
}

/** Gives last layers biases of their own: torch.onnx stores equal biases of several layers once. */
function separateBiases(model: Model, options: HeadOptions): Model {
  const graph = importGraph(model)
  const { name, value } = findOutput(graph, options)
  const biases = findHeads(value, name).flatMap((head) => head.biases.map((bias) => bias.value))
  if (biases.every((bias) => usersOf(bias, graph).length === 1)) return model
  const names = new Set(biases.map((bias) => bias.name))
  const shared = findSharedTensors(graph).flatMap(({ tensor }) => (names.has(tensor) ? [tensor] : []))
  return shared.length > 0 ? untieTensors(model, shared) : model
}

const usersOf = (x: Value, graph: Graph): readonly Node[] =>
  topological(graph.outputs.values()).filter((node) => dependenciesOf(node).includes(x))

function checkUnshared(graph: Graph, { operand, weight, biases }: Head): void {
  for (const shared of [weight, operand, ...biases.map(({ value }) => value)]) {
    const name = shared === operand ? weight.name : shared.name
    const users = usersOf(shared, graph)
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
