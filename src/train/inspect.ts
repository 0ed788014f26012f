import { OnnxIreError } from '../errors.js'
import { gradients, type Seed } from '../grad/gradient.js'
import { type DType, dtypeOf, dtypes, isFloat } from '../ir/dtype.js'
import { input } from '../ir/leaf.js'
import type { Shape } from '../ir/shape.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import type { Graph } from '../ir/value.js'
import { shapeOf } from '../onnx/declared.js'
import { importGraph } from '../onnx/import.js'
import { type Model, namedTensors, tensorProtos } from '../onnx/model.js'
import type { ModelProto, TypeProto, ValueInfoProto } from '../onnx/schema.js'
import { isSupported, operatorNodes, qualified } from '../onnx/unsupported.js'
import { positionsOf } from './positions.js'
import { weightsOf } from './weights.js'
import { widened } from './widen.js'

/** What a model is made of, and what of it training would vary. */
export interface Inspection {
  readonly irVersion: number | null
  /** Version by domain; '' is ai.onnx. */
  readonly opsets: Readonly<Record<string, number>>
  readonly producer: { readonly name: string; readonly version: string }
  readonly graph: string
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
  readonly operators: readonly { readonly operator: string; readonly count: number; readonly supported: boolean }[]
  /** All tensors stored in the model, in its bodies and functions too. */
  readonly stored: { readonly tensors: number; readonly bytes: number; readonly floatElements: number }
  /** The constant tensors of the main graph: initializers and Constant nodes. */
  readonly tensors: readonly TensorReport[]
  readonly training: {
    readonly tensors: number
    readonly elements: number
    /** Why nothing can be trained, or not everything that would be; null when it can. */
    readonly blocked: { readonly code: string; readonly message: string } | null
  }
}

export interface Port {
  readonly name: string
  /** An element type, or what else it is: `sequence`, `map`, `optional`, `sparse tensor`. */
  readonly type: string
  /** Null where nothing is known of it; a length that is not known is '?'. */
  readonly shape: Shape | null
}

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

/** Looks at a model without running it. What is wrong with it is reported, not thrown. */
export function inspectModel(model: Model): Inspection {
  const { proto } = model
  const imported = attempt(() => importGraph(model))
  const graph = imported.value
  const tensors = tensorReports(model, graph)
  const trainable = tensors.filter((tensor) => tensor.trainable)
  return {
    irVersion: proto.irVersion === undefined ? null : Number(proto.irVersion),
    opsets: Object.fromEntries(proto.opsetImport.map(({ domain = '', version = 1n }) => [domain, Number(version)])),
    producer: { name: proto.producerName ?? '', version: proto.producerVersion ?? '' },
    graph: proto.graph?.name ?? '',
    inputs: inputsOf(proto).map((info) => portOf(info, graph?.inputs.get(info.name ?? '')?.shape)),
    outputs: (proto.graph?.output ?? []).map((info) => portOf(info, graph?.outputs.get(info.name ?? '')?.shape)),
    operators: operatorsOf(proto),
    stored: storedIn(proto),
    tensors,
    training: {
      tensors: trainable.length,
      elements: trainable.reduce((sum, { elements }) => sum + elements, 0),
      blocked: graph ? blockedBy(graph, new Set(trainable.map(({ name }) => name))) : imported.error,
    },
  }
}

type Failure = { readonly code: string; readonly message: string }

function attempt<T>(action: () => T): { readonly value?: T; readonly error: Failure | null } {
  try {
    return { value: action(), error: null }
  } catch (error) {
    if (!(error instanceof OnnxIreError)) throw error
    return { error: { code: error.code, message: error.message } }
  }
}

/** What has to be fed: up to IR version 3 initializers are listed among the inputs too. */
export function inputsOf({ graph }: ModelProto): readonly ValueInfoProto[] {
  const initializers = new Set(graph?.initializer.map(({ name }) => name))
  return graph?.input.filter(({ name }) => !initializers.has(name)) ?? []
}

function portOf(info: ValueInfoProto, inferred: Shape | undefined): Port {
  const shape = inferred ?? attempt(() => shapeOf(info)).value
  // A symbol of inference's own stands for a length about which nothing is known; a long expression tells nobody anything.
  const known =
    shape?.map((dim) => (typeof dim === 'string' && (dim.includes('?') || dim.length > 40) ? '?' : dim)) ?? null
  return { name: info.name ?? '', type: typeOf(info.type), shape: known }
}

function typeOf(type: TypeProto | undefined): string {
  if (type?.tensorType) return dtypeOf(type.tensorType.elemType ?? 0) ?? `element type ${type.tensorType.elemType ?? 0}`
  if (type?.sequenceType) return 'sequence'
  if (type?.mapType) return 'map'
  if (type?.optionalType) return 'optional'
  return type?.sparseTensorType ? 'sparse tensor' : 'unknown'
}

function operatorsOf(proto: ModelProto): Inspection['operators'] {
  const found = new Map<string, { count: number; supported: boolean }>()
  for (const node of operatorNodes(proto)) {
    const entry = found.get(qualified(node)) ?? { count: 0, supported: isSupported(node) }
    entry.count++
    found.set(qualified(node), entry)
  }
  const all = [...found].map(([operator, entry]) => ({ operator, ...entry }))
  return all.sort((a, b) => b.count - a.count || (a.operator < b.operator ? -1 : 1))
}

function storedIn(proto: ModelProto): Inspection['stored'] {
  const all = tensorProtos(proto).map(({ dims, dataType, stringData }) => {
    const dtype = dtypeOf(dataType ?? 0)
    const elements = dims.reduce((product, dim) => product * Number(dim), 1)
    const strings = stringData.reduce((sum, { length }) => sum + length, 0)
    return { elements: dtype && isFloat(dtype) ? elements : 0, bytes: dtype ? bytesOf(dtype, elements) + strings : 0 }
  })
  const sum = (of: (tensor: (typeof all)[number]) => number) => all.reduce((total, tensor) => total + of(tensor), 0)
  return { tensors: all.length, bytes: sum(({ bytes }) => bytes), floatElements: sum(({ elements }) => elements) }
}

const bytesOf = (dtype: DType, elements: number): number => Math.ceil((elements * dtypes[dtype].bits) / 8)

function tensorReports(model: Model, graph: Graph | undefined): TensorReport[] {
  const named = attempt(() => namedTensors(model)).value ?? new Map<string, Tensor>()
  const weights = graph ? new Set([...weightsOf(graph)].map(({ name }) => name)) : undefined
  const positions = graph ? positionsOf(graph) : undefined
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

/** What keeps the trainable tensors from having gradients. */
function blockedBy(graph: Graph, names: ReadonlySet<string>): Failure | null {
  if (names.size === 0)
    return { code: 'invalid-option', message: 'no tensor stands in a weight position; name some with trainable' }
  if (![...graph.outputs.values()].some(({ dtype }) => isFloat(dtype)))
    return { code: 'not-differentiable', message: 'no output is floating-point' }
  return attempt(() => {
    const { parameters, outputs } = widened(graph)
    const varied = [...parameters].flatMap(([name, value]) => (names.has(name) ? [value] : []))
    const floats = [...outputs].filter(([, y]) => isFloat(y.dtype))
    gradients(
      floats.map(([name, y]): Seed => [y, input(`dy/${name}`, y.dtype, y.shape)]),
      varied,
    )
  }).error
}
