import { type DType, dtypeOf, dtypes, isFloat } from '../../ir/dtype.js'
import type { Shape } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Graph } from '../../ir/value.js'
import { listInputs, readShape } from '../../onnx/import/declarations.js'
import { isSupported, qualifiedName, walkOperatorNodes } from '../../onnx/import/model-nodes.js'
import { collectTensorProtos } from '../../onnx/model.js'
import type { ModelProto, TypeProto, ValueInfoProto } from '../../onnx/proto/schema.js'
import { attempt } from './tensors.js'

/** An input or output of a model. */
export interface ModelPort {
  readonly name: string
  /** An element type, or `sequence`, `map`, `optional`, `sparse tensor`. */
  readonly type: string
  /** Null if unknown; an unknown dim is '?'. */
  readonly shape: Shape | null
}

/** Contents of a file, whether or not it can be imported. */
export interface ModelContents {
  readonly irVersion: number | null
  /** Version by domain; '' is ai.onnx. */
  readonly opsets: Readonly<Record<string, number>>
  readonly producer: { readonly name: string; readonly version: string }
  readonly graph: string
  readonly inputs: readonly ModelPort[]
  readonly outputs: readonly ModelPort[]
  readonly operators: readonly { readonly operator: string; readonly count: number; readonly supported: boolean }[]
  /** All tensors stored in the model, in its bodies and functions too. */
  readonly stored: { readonly tensors: number; readonly bytes: number; readonly floatElements: number }
}

/** @param graph what the model was imported as, if it could be */
export function readContents(proto: ModelProto, graph: Graph | undefined): ModelContents {
  return {
    irVersion: proto.irVersion === undefined ? null : Number(proto.irVersion),
    opsets: Object.fromEntries(proto.opsetImport.map(({ domain = '', version = 1n }) => [domain, Number(version)])),
    producer: { name: proto.producerName ?? '', version: proto.producerVersion ?? '' },
    graph: proto.graph?.name ?? '',
    inputs: listInputs(proto).map((info) => portOf(info, graph?.inputs.get(info.name ?? '')?.shape)),
    outputs: (proto.graph?.output ?? []).map((info) => portOf(info, graph?.outputs.get(info.name ?? '')?.shape)),
    operators: operatorsOf(proto),
    stored: storedIn(proto),
  }
}

function portOf(info: ValueInfoProto, inferred: Shape | undefined): ModelPort {
  const shape = inferred ?? attempt(() => readShape(info)).value
  // Symbols created by inference are unknown dims; long expressions are not readable.
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

function operatorsOf(proto: ModelProto): ModelContents['operators'] {
  const found = new Map<string, { count: number; supported: boolean }>()
  for (const node of walkOperatorNodes(proto)) {
    const entry = found.get(qualifiedName(node)) ?? { count: 0, supported: isSupported(node) }
    entry.count++
    found.set(qualifiedName(node), entry)
  }
  const all = [...found].map(([operator, entry]) => ({ operator, ...entry }))
  return all.sort((a, b) => b.count - a.count || (a.operator < b.operator ? -1 : 1))
}

function storedIn(proto: ModelProto): ModelContents['stored'] {
  const all = collectTensorProtos(proto).map(({ dims, dataType, stringData }) => {
    const dtype = dtypeOf(dataType ?? 0)
    const elements = sizeOf(Array.from(dims, Number))
    const strings = stringData.reduce((sum, { length }) => sum + length, 0)
    return { elements: dtype && isFloat(dtype) ? elements : 0, bytes: dtype ? bytesOf(dtype, elements) + strings : 0 }
  })
  const sum = (of: (tensor: (typeof all)[number]) => number) => all.reduce((total, tensor) => total + of(tensor), 0)
  return { tensors: all.length, bytes: sum(({ bytes }) => bytes), floatElements: sum(({ elements }) => elements) }
}

const bytesOf = (dtype: DType, elements: number): number => Math.ceil((elements * dtypes[dtype].bits) / 8)
