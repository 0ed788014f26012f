import type { DatasetOrStream } from '../../data/stream.js'
import type { Dim } from '../../ir/shape.js'
import { checksumTensor, type Tensor } from '../../ir/tensor.js'
import { bodiesOf, topological } from '../../ir/topology.js'
import type { Node, Value } from '../../ir/value.js'
import type { Model } from '../../onnx/model.js'
import type { NodeProto } from '../../onnx/proto/schema.js'
import { locateTensors } from '../../onnx/tensor-locations.js'
import { checksum } from '../../util/checksum.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'

/** Checksums of the contents that a run reads and does not change: a checkpoint resumes only with the same ones. */
export interface SourceChecksums extends ModelChecksums {
  /** Name of the loss, and checksum of its graph. */
  readonly loss: string
  /** Checksum of the graph of the metrics, if one of them selects weights, ends training or lowers the rate. */
  readonly metrics?: string
  /** The data of the current `fit`, if it saves checkpoints. */
  readonly data?: FitData
}

/** The data of a `fit`. */
export interface FitData {
  readonly training: DataSummary
  readonly validation?: DataSummary
}

/** Number of examples of data, if known, and their checksum, if the data have one. */
export interface DataSummary {
  readonly examples?: number
  readonly checksum?: string
}

/** Checksums of the parts of a model that training does not change. */
interface ModelChecksums {
  /** Nodes, inputs, outputs and operator sets; names of files, comments and metadata do not count. */
  readonly graph: string
  /** Tensors that are not trained, by name. */
  readonly tensors: Readonly<Record<string, string>>
}

/**
 * Computes the checksums of a model.
 * @param isTrained whether training changes the tensor of a name
 */
export function checksumModel({ proto, external }: Model, isTrained: (name: string) => boolean): ModelChecksums {
  const located = locateTensors(proto, external)
  const frozen = [...located.values()].filter(({ name }) => !isTrained(name))
  const tensors = Object.fromEntries(frozen.map(({ name, tensor }) => [name, checksumReadable(tensor)]))
  const { opsetImport, graph, functions } = proto
  const structure = JSON.stringify({ opsetImport, graph, functions }, (key, value: unknown) => {
    if (insignificant.has(key)) return undefined
    // A file has numbers in 32 bits, and its messages may have their fields in another order.
    if (typeof value === 'number') return String(Math.fround(value))
    if (typeof value === 'bigint') return String(value)
    if (typeof value !== 'object' || value === null) return value
    if (value instanceof Uint8Array) return checksum([value])
    if (ArrayBuffer.isView(value)) return Array.from(value as BigInt64Array)
    if (Array.isArray(value)) return value.length === 0 ? undefined : value
    // The elements of a Constant are among the tensors above.
    if (located.has(value as NodeProto)) return { output: (value as NodeProto).output }
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
  })
  return { graph: checksum([structure]), tensors }
}

/** Fields of messages that do not change results, and initializers, which have checksums of their own. */
const insignificant: ReadonlySet<string> = new Set([
  ...['docString', 'metadataProps', 'valueInfo', 'quantizationAnnotation', 'deviceConfigurations'],
  ...['initializer', 'sparseInitializer', 'externalData', 'dataLocation'],
])

function checksumReadable(tensor: Tensor): string {
  try {
    return checksumTensor(tensor)
  } catch (error) {
    // The model has a tensor that cannot be read and is not needed: sparse, or of an unsupported type.
    if (error instanceof OnnxIreError && error.code !== 'external-data') return 'unreadable'
    throw error
  }
}

/**
 * Throws `checkpoint` if a run has another model, loss or metrics than a checkpoint.
 * @param saved checksums of the checkpoint
 */
export function checkSources(saved: SourceChecksums, own: SourceChecksums): void {
  checkModelChecksums(saved, own)
  for (const part of ['loss', 'metrics'] as const)
    if (saved[part] !== own[part])
      throw new OnnxIreError(
        'checkpoint',
        `the checkpoint belongs to another run: ${part} with the checksum ${saved[part]}, here ${own[part]}; give the ${part} it ` +
          'was written with, and the same version of onnx-ire',
      )
}

/**
 * Throws `checkpoint` if data are not those of a checkpoint, as far as both are known.
 * @param saved data of the checkpoint
 */
export function checkFitData(saved: FitData, own: FitData): void {
  for (const part of ['training', 'validation'] as const) {
    const [before, now] = [saved[part], own[part]]
    if (differsIn('examples', before, now) || differsIn('checksum', before, now))
      throw new OnnxIreError(
        'checkpoint',
        `fit: the ${part} data are not those of the checkpoint: ${describeData(now)}, before ${describeData(before)}; continue ` +
          'on the data that the run started with, or start a new run',
      )
  }
}

/** Whether two summaries have different numbers of examples, or checksums, as far as both are known. */
export const differsIn = (key: keyof DataSummary, a: DataSummary | undefined, b: DataSummary | undefined): boolean =>
  a?.[key] !== undefined && b?.[key] !== undefined && a[key] !== b[key]

const describeData = ({ examples, checksum: sum }: DataSummary = {}): string =>
  [...(examples === undefined ? [] : [`${examples} examples`]), ...(sum === undefined ? [] : [`checksum ${sum}`])].join(
    ', ',
  )

/** Computes the checksums of data. */
export async function summarizeData(data: DatasetOrStream): Promise<DataSummary> {
  const sum = await data.checksum?.()
  return {
    ...(data.length === undefined ? {} : { examples: data.length }),
    ...(sum === undefined ? {} : { checksum: sum }),
  }
}

/**
 * Throws `checkpoint` if a model is not the one of a checkpoint.
 * @param saved checksums of the checkpoint
 */
export function checkModelChecksums(saved: ModelChecksums, own: ModelChecksums): void {
  const names = new Set([...Object.keys(saved.tensors), ...Object.keys(own.tensors)])
  const others = [...names].filter((name) => checksumOf(saved, name) !== checksumOf(own, name))
  if (others.length === 0 && saved.graph === own.graph) return
  const shown = others.slice(0, 3).map((name) => `'${name}'`)
  const more = others.length > 3 ? [`${others.length - 3} more`] : []
  const what =
    others.length > 0
      ? `it has other values in the frozen ${others.length === 1 ? 'tensor' : 'tensors'} ${[...shown, ...more].join(', ')}`
      : 'its graph has other nodes, inputs or outputs'
  throw new OnnxIreError(
    'checkpoint',
    `the checkpoint belongs to another model: ${what}; give the model that the run started from`,
  )
}

const checksumOf = ({ tensors }: ModelChecksums, name: string) => getOwn(tensors, name)

/**
 * Computes the checksum of a graph that was built onto a model, such as a loss: its own nodes, constants and inputs,
 * and the names of the model's values that it reads.
 * @param outputs results of the graph
 * @param model outputs of the model
 */
export function checksumGraph(outputs: Iterable<Value>, model: Iterable<Value>): string {
  const outer = new Set(topological(model))
  const own = [...outputs]
  const nodes = topological(own, (node) => !outer.has(node))
  const numbers = new Map<Node, number>(nodes.map((node, i) => [node, i]))
  const nameOf = (value: Value | null): string => {
    if (value === null) return ''
    const { source, index, name, dtype, shape } = value
    if (source.kind === 'node') return `${numbers.get(source) ?? name ?? source.operator}.${index}`
    if (source.kind === 'constant') return checksumTensor(source.tensor)
    return `${name} ${dtype} ${JSON.stringify(shape?.map(withoutNumber))}`
  }
  const lines = nodes.map((node) => {
    const attributes = JSON.stringify(node.attributes, (_, value: unknown) => {
      if (typeof value === 'number' || typeof value === 'bigint') return String(value)
      if (ArrayBuffer.isView(value)) return checksum([value])
      return isBody(value) ? 'body' : value
    })
    const bodies = bodiesOf(node).map((body) => checksumGraph(body.outputs, model))
    return [node.domain, node.operator, node.since, ...node.inputs.map(nameOf), attributes, ...bodies].join('|')
  })
  return checksum([...lines, ...own.map(nameOf)])
}

/** A dim, without the number that an unknown one gets when it is created. */
const withoutNumber = (dim: Dim): Dim => (typeof dim === 'string' && dim.includes('?') ? '?' : dim)

const isBody = (value: unknown): boolean => typeof value === 'object' && value !== null && 'scope' in value
