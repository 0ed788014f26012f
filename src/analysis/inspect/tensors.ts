import { type DType, isFloat } from '../../ir/dtype.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import type { Graph } from '../../ir/value.js'
import { type Model, namedTensors } from '../../onnx/model.js'
import { parameterUses } from '../../train/model/parameter-uses.js'
import { findWeights } from '../../train/model/trainable.js'
import { OnnxIreError } from '../../util/errors.js'

/** A constant tensor of a model, and whether training would vary it. */
export interface TensorReport {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  readonly elements: number
  /** Whether training varies it unless it is told otherwise. */
  readonly trainable: boolean
  /** The operators that read it and as what, or what keeps it from being trained. */
  readonly why: string
}

export type Failure = { readonly code: string; readonly message: string }

/** What an action gives, or what this library says is wrong. */
export function attempt<T>(action: () => T): { readonly value?: T; readonly error: Failure | null } {
  try {
    return { value: action(), error: null }
  } catch (error) {
    if (!(error instanceof OnnxIreError)) throw error
    return { error: { code: error.code, message: error.message } }
  }
}

/** The constant tensors of a model; `graph` is what it was imported as, if it could be. */
export function tensorReports(model: Model, graph: Graph | undefined): TensorReport[] {
  const named = attempt(() => namedTensors(model)).value ?? new Map<string, Tensor>()
  const weights = graph ? new Set([...findWeights(graph)].map(({ name }) => name)) : undefined
  const positions = graph ? parameterUses(graph) : undefined
  return [...named].flatMap(([name, tensor]): TensorReport[] => {
    const known = attempt(() => ({ dtype: tensor.dtype, shape: tensor.dims }))
    if (!known.value) return [{ name, dtype: '?', shape: [], elements: 0, trainable: false, why: known.error!.message }]
    const { dtype, shape } = known.value
    const read = positions?.get(name) ?? []
    const reading = `${read.slice(0, 2).join(', ')}${read.length > 2 ? ` and ${read.length - 2} more` : ''}`
    const [trainable, why] = verdict(dtype, sizeOf(shape), graph?.parameters.has(name), weights?.has(name), reading)
    return [{ name, dtype, shape, elements: sizeOf(shape), trainable, why }]
  })
}

/** @param varies whether the graph can vary it, undefined where there is no graph */
function verdict(
  dtype: DType,
  elements: number,
  varies: boolean | undefined,
  weight: boolean | undefined,
  reading: string,
): readonly [boolean, string] {
  if (!isFloat(dtype)) return [false, 'not floating-point']
  if (varies === undefined) return [false, 'not known: the model cannot be imported']
  if (!varies) return [false, elements === 1 ? 'a single number in a Constant node' : 'a setting, or inside no layer']
  if (weight) return [true, reading]
  return [false, reading === '' ? 'no node reads it' : `no weight position: ${reading}`]
}
