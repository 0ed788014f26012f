import { create, edit } from '../onnx/proto/message.js'
import type { ModelProto } from '../onnx/proto/schema.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn, isObject } from '../util/record.js'
import type { AdapterConfig, AdapterKind } from './adapter.js'

/** Key of the metadata in which a model describes its adapter. */
const metadataKey = 'onnx-ire.adapter'

/** The adapter of a model as its metadata describe it. */
export interface AdapterRecord {
  readonly version: 1
  readonly config: AdapterConfig
  /** Outputs of query, key and value in packed layers, if they were given. */
  readonly qkvSizes?: readonly [number, number, number]
  readonly layers: readonly LayerRecord[]
  readonly sites: readonly SiteRecord[]
  /** Modules that are trained as a whole. */
  readonly saved?: readonly SavedRecord[]
  /** Layers with factors. */
  readonly scalings?: readonly ScalingRecord[]
}

/** Layer whose outputs or inputs are multiplied by factors. */
export interface ScalingRecord {
  readonly module: string
  readonly kind: AdapterKind
  readonly of: 'outputs' | 'inputs'
  /** Name of the tensor. */
  readonly factors: string
  /** Inputs that read the multiplied value, as in `SavedRecord`. */
  readonly places: SavedRecord['places']
}

/** Module that is trained as a whole, in tensors of its own. */
export interface SavedRecord {
  readonly module: string
  /** Names of the tensors. */
  readonly weight: string
  readonly bias?: string
  /** Whether the weight is transposed against PyTorch's. */
  readonly transposed: boolean
  /** Inputs that read these tensors, by the first output of their node, with the names that they read before. */
  readonly places: readonly { readonly output: string; readonly at: number; readonly name: string }[]
}

export interface LayerRecord {
  readonly module: string
  readonly kind: AdapterKind
  /** Name of the base node. */
  readonly node: string
  readonly r: number
  readonly scale: number
  /** Names of the tensors. */
  readonly a: string
  readonly b: string
  readonly magnitude?: string
  /** Names of the initial A and negated B of PiSSA, which are not trained. */
  readonly start?: { readonly a: string; readonly b: string }
}

/** A base node, whose output was renamed so that the sum with the adapter could take its name. */
export interface SiteRecord {
  /** Original name of the output, now the output of the last node of the adapter. */
  readonly output: string
  /** Name of the base node's output in the model with the adapter. */
  readonly base: string
}

/** Reads the record of a model with an adapter; undefined for other models. Throws `invalid-model` if it is damaged. */
export const findRecord = ({ metadataProps }: Pick<ModelProto, 'metadataProps'>): AdapterRecord | undefined =>
  parseRecord(Object.fromEntries(metadataProps.map(({ key = '', value = '' }) => [key, value])))

/** The parts of a model's adapter that training treats differently from the model. */
export interface AdapterParts {
  /** Names of the tensors to train. */
  readonly tensors: readonly string[]
  /** Whether a node is Dropout of the adapter, which training activates. */
  isDropout(node: string): boolean
  /** Whether a node computes a norm of DoRA, through which no gradient is propagated. */
  isNorm(node: string): boolean
}

/** Finds the parts of a model's adapter from the metadata of its graph; undefined if it has none. */
export function findAdapterParts(metadata: Readonly<Record<string, string>> | undefined): AdapterParts | undefined {
  const record = metadata && parseRecord(metadata)
  if (!record) return undefined
  const modules = new Set(record.layers.map(({ module }) => module))
  const hasRole = (node: string, role: RegExp) => {
    const at = node.search(role)
    return at > 0 && modules.has(node.slice(0, at))
  }
  return {
    tensors: listAll(record),
    isDropout: (node) => hasRole(node, /\/lora_dropout(_\d+)?\/Dropout$/),
    isNorm: (node) => hasRole(node, /\/lora_norm(_\d+)?\/(ReduceL2|Sqrt)$/),
  }
}

const listTensors = ({ a, b, magnitude }: LayerRecord): readonly string[] =>
  magnitude === undefined ? [a, b] : [a, b, magnitude]

const listAll = ({ layers, saved = [], scalings = [] }: AdapterRecord): readonly string[] => [
  ...layers.flatMap(listTensors),
  ...scalings.map(({ factors }) => factors),
  ...saved.flatMap(({ weight, bias }) => (bias === undefined ? [weight] : [weight, bias])),
]

/** Names of the tensors of a model's adapter. */
export const adapterTensors = ({ proto }: { readonly proto: ModelProto }): readonly string[] => {
  const record = findRecord(proto)
  return record ? listAll(record) : []
}

/** Creates a predicate that tests whether a name is one of an inserted node or tensor. */
export function createInsertedMatcher({ layers, saved = [], scalings = [] }: AdapterRecord): (name: string) => boolean {
  const modules = new Set([...layers, ...saved, ...scalings].map(({ module }) => module))
  return (name) => {
    const at = Math.max(...['/lora_', '.lora_', '/ia3_', '.ia3_'].map((mark) => name.lastIndexOf(mark)))
    return at > 0 && modules.has(name.slice(0, at))
  }
}

/** Adds the record to the metadata of a model. */
export const addRecord = (proto: ModelProto, record: AdapterRecord): ModelProto =>
  edit(proto, {
    metadataProps: [
      ...proto.metadataProps,
      create('StringStringEntryProto', { key: metadataKey, value: JSON.stringify(record) }),
    ],
  })

/** Removes the record from the metadata of a model. */
export const removeRecord = (proto: ModelProto): ModelProto =>
  edit(proto, { metadataProps: proto.metadataProps.filter(({ key }) => key !== metadataKey) })

function parseRecord(metadata: Readonly<Record<string, string>>): AdapterRecord | undefined {
  const text = getOwn(metadata, metadataKey)
  if (text === undefined) return undefined
  let record: unknown
  try {
    record = JSON.parse(text)
  } catch (cause) {
    throw damaged('it is not JSON', cause)
  }
  if (!isObject(record)) throw damaged('it is not an object')
  if (record['version'] !== 1)
    throw damaged(`its version is ${String(record['version'])}; this version of the library reads 1`)
  const { config, layers, sites, saved = [], scalings = [] } = record
  const isValid =
    isObject(config) &&
    Array.isArray(layers) &&
    layers.every(isLayer) &&
    Array.isArray(sites) &&
    sites.every((site) => isObject(site) && hasTexts(site, ['output', 'base'])) &&
    Array.isArray(saved) &&
    saved.every(isSaved) &&
    Array.isArray(scalings) &&
    scalings.every(isScaling)
  if (!isValid) throw damaged('fields are missing or have other types')
  return record as unknown as AdapterRecord
}

const hasTexts = (value: Readonly<Record<string, unknown>>, names: readonly string[]) =>
  names.every((name) => typeof getOwn(value, name) === 'string')

const isLayer = (value: unknown): boolean =>
  isObject(value) &&
  hasTexts(value, ['module', 'node', 'a', 'b']) &&
  ['linear', 'conv', 'embedding'].includes(value['kind'] as string) &&
  Number.isFinite(value['scale']) &&
  Number.isInteger(value['r']) &&
  (value['magnitude'] === undefined || typeof value['magnitude'] === 'string') &&
  (value['start'] === undefined || (isObject(value['start']) && hasTexts(value['start'], ['a', 'b'])))

const isSaved = (value: unknown): boolean =>
  isObject(value) &&
  hasTexts(value, ['module', 'weight']) &&
  (value['bias'] === undefined || typeof value['bias'] === 'string') &&
  typeof value['transposed'] === 'boolean' &&
  hasPlaces(value)

const isScaling = (value: unknown): boolean =>
  isObject(value) &&
  hasTexts(value, ['module', 'factors']) &&
  ['linear', 'conv'].includes(value['kind'] as string) &&
  ['outputs', 'inputs'].includes(value['of'] as string) &&
  hasPlaces(value)

const hasPlaces = (value: Readonly<Record<string, unknown>>): boolean =>
  Array.isArray(value['places']) &&
  value['places'].every(
    (place) => isObject(place) && hasTexts(place, ['output', 'name']) && Number.isInteger(place['at']),
  )

const damaged = (reason: string, cause?: unknown) =>
  new OnnxIreError(
    'invalid-model',
    `the metadata '${metadataKey}' of the model is damaged: ${reason}; add the adapter to the base model again`,
    { cause },
  )
