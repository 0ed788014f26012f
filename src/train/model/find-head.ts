import { formatShape } from '../../ir/shape.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import { dependenciesOf, topological } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { definitionOf } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'

/** The output whose last layers are meant. */
interface HeadOutput {
  /** Name of the output. Default: the only output. */
  readonly output?: string
}

/** A last layer before an output: its weight, its biases, and the class axis of each. */
export interface Head {
  readonly node: Node
  /** The operand of the layer: the weight, or its transpose. */
  readonly operand: Value
  readonly weight: Value
  readonly weightAxis: number
  readonly biases: readonly { readonly value: Value; readonly axis: number }[]
  /** Stored shapes of the Reshape nodes between the layer and the output. */
  readonly shapes: readonly Value[]
}

/** Names of the tensors of the last layers that `replaceHead` resizes. */
export interface HeadTensors {
  readonly weights: readonly string[]
  readonly biases: readonly string[]
}

/** Finds the weights and the biases, if any, of the last layers that `replaceHead` resizes. */
export function headTensors(model: Model, options: HeadOutput): HeadTensors {
  const { name, value } = findOutput(importGraph(model), options)
  const heads = findHeads(value, name)
  return {
    weights: heads.map(({ weight }) => weight.name!),
    biases: [...new Set(heads.flatMap(({ biases }) => biases.map((bias) => bias.value.name!)))],
  }
}

/** The output of the options, or the only one. */
export function findOutput(graph: Graph, { output }: HeadOutput): { readonly name: string; readonly value: Value } {
  const name = output ?? (graph.outputs.size === 1 ? [...graph.outputs.keys()][0]! : undefined)
  const value = name === undefined ? undefined : graph.outputs.get(name)
  if (name !== undefined && value) return { name, value }
  throw new OnnxIreError(
    'invalid-option',
    `head: output must be one of the model's outputs: ${[...graph.outputs.keys()].map((key) => `'${key}'`).join(', ')}`,
  )
}

/** The tensor of a stored value. */
export const tensorOf = (value: Value): Tensor => (value.source as { tensor: Tensor }).tensor

/** The last layers before an output: one, or those of which the output is the sum or the mean. */
export function findHeads(output: Value, name: string): readonly Head[] {
  const refuse = (reason: string) => {
    const isQuantized = topological([output]).some(({ operator }) => /uantize|Integer$|NBits$/.test(operator))
    const advice = isQuantized
      ? 'the model is quantized: take the float model, and quantize it after training'
      : 'choose the output of a classifier, or cut the model after its last layer'
    return new OnnxIreError(
      'invalid-option',
      `head: output '${name}' is not produced by a Gemm, MatMul or Conv with a stored weight (${reason}): ${advice}`,
    )
  }
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

/** The number of classes of a head. */
export const classesOf = ({ weight, weightAxis }: Head): number | undefined => tensorOf(weight).dims[weightAxis]

/** Whether a value has one element, which does not depend on an input of the model. */
const isFixedScalar = (x: Value | null): boolean =>
  x?.shape?.every((dim) => dim === 1) === true &&
  [x, ...topological([x]).flatMap(dependenciesOf)].every(({ source }) => source.kind !== 'input')

type HeadLayer = Pick<Head, 'operand' | 'weight' | 'weightAxis'> & { readonly bias: Value | undefined }

function layerOf(node: Node): HeadLayer | undefined {
  const [, operand, third] = node.inputs
  const { weight, axes } = readWeight(operand) ?? {}
  if (!operand || !weight || !axes || axes.length < 2) return undefined
  const bias = readBias(third)
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

/** The stored bias of a layer. torch.onnx reads one with the values of another bias by an Identity of that one. */
function readBias(operand: Value | null | undefined): Value | undefined {
  const { source } = operand ?? {}
  if (source?.kind === 'node') return source.operator === 'Identity' ? readBias(source.inputs[0]) : undefined
  return source?.kind === 'parameter' ? operand! : undefined
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
