import { findAdapterParts } from '../../adapter/record.js'
import { type DType, isFloat } from '../../ir/dtype.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import { withBodies } from '../../ir/topology.js'
import { describeNode, type Graph } from '../../ir/value.js'
import { type Model, namedTensors } from '../../onnx/model.js'
import { definitionOf } from '../../op/op.js'
import { findOrigins, resolveParameters } from '../../train/model/stored-values.js'
import { findTrainable } from '../../train/model/trainable.js'
import { append } from '../../util/append.js'
import { OnnxIreError } from '../../util/errors.js'

/** A constant tensor of a model, and whether training changes it. */
export interface TensorReport {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  readonly elements: number
  /** Whether training changes the tensor by default. */
  readonly trainable: boolean
  /** The operators that read the tensor and as which input, or the reason why it is not trained. */
  readonly why: string
}

export type Failure = { readonly code: string; readonly message: string }

/** Returns the result of an action, or the `OnnxIreError` it throws. */
export function attempt<T>(action: () => T): { readonly value?: T; readonly error: Failure | null } {
  try {
    return { value: action(), error: null }
  } catch (error) {
    if (!(error instanceof OnnxIreError)) throw error
    return { error: { code: error.code, message: error.message } }
  }
}

/** Reports the constant tensors of a model; `graph` is the imported model, if it can be imported. */
export function reportTensors(model: Model, graph: Graph | undefined): TensorReport[] {
  const named = attempt(() => namedTensors(model)).value ?? new Map<string, Tensor>()
  const weights = graph ? new Set(findTrainable(graph).keys()) : undefined
  const hasAdapter = graph !== undefined && findAdapterParts(graph.metadata) !== undefined
  const positions = graph ? parameterUses(graph) : undefined
  return [...named].flatMap(([name, tensor]): TensorReport[] => {
    const known = attempt(() => ({ dtype: tensor.dtype, shape: tensor.dims }))
    if (!known.value) return [{ name, dtype: '?', shape: [], elements: 0, trainable: false, why: known.error!.message }]
    const { dtype, shape } = known.value
    const read = positions?.get(name) ?? []
    const reading = `${read.slice(0, 2).join(', ')}${read.length > 2 ? ` and ${read.length - 2} more` : ''}`
    const [trainable, why] =
      hasAdapter && !weights?.has(name)
        ? [false, 'the model has an adapter: only that is trained']
        : graph?.buffers?.has(name)
          ? [false, `a buffer of PyTorch: ${reading}`]
          : judgeTensor(dtype, sizeOf(shape), graph?.parameters.has(name), weights?.has(name), reading)
    return [{ name, dtype, shape, elements: sizeOf(shape), trainable, why }]
  })
}

/**
 * Decides whether a tensor is trained by default, and why.
 * @param varies whether the tensor is a parameter of the graph; undefined without a graph
 */
function judgeTensor(
  dtype: DType,
  elements: number,
  varies: boolean | undefined,
  weight: boolean | undefined,
  reading: string,
): readonly [boolean, string] {
  if (!isFloat(dtype)) return [false, 'not floating-point']
  if (varies === undefined) return [false, 'not known: the model cannot be imported']
  if (!varies)
    return [
      false,
      elements === 1
        ? 'a single number in a Constant node'
        : 'a setting, inside no layer, or one repeated number in a Constant node',
    ]
  if (weight) return [true, reading]
  return [false, reading === '' ? 'no node reads it' : `no weight by its position or values: ${reading}`]
}

/** Lists the operator inputs that read each parameter, directly or through views: "w of Conv 'conv1'". */
function parameterUses(graph: Graph): Map<string, string[]> {
  const uses = new Map<string, string[]>()
  const nodes = withBodies(graph.outputs.values())
  const origins = findOrigins(nodes)
  for (const node of nodes) {
    const names = definitionOf(node.operator).inputs
    for (const [index, value] of node.inputs.entries()) {
      const input = (names[index] ?? names.at(-1) ?? '').replace(/^\.\.\.|\?$/g, '')
      for (const { name } of resolveParameters(value, origins))
        if (name !== undefined) append(uses, name, `${input} of ${describeNode(node)}`)
    }
  }
  return uses
}
