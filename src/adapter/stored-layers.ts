import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { formatType, type Tensor } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'
import type { AdapterKind, AdapterLayer } from './adapter.js'

/** Suffixes of PEFT's names of the tensors of a layer. Olive uses the same ones. */
export const suffixes = (kind: AdapterKind): { readonly a: string; readonly b: string } =>
  kind === 'embedding'
    ? { a: '.lora_embedding_A', b: '.lora_embedding_B' }
    : { a: '.lora_A.weight', b: '.lora_B.weight' }

export const magnitudeSuffix = '.lora_magnitude_vector'

const tensorName = /^(.+)\.(lora_A\.weight|lora_B\.weight|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)$/

/**
 * Rank of the zeros in place of an adapter, which all inputs of a model share. A Conv over 0 channels
 * gives NaN in onnxruntime if the memory of its output holds NaN, so with a convolution the rank is 1.
 */
export const chooseAbsentRank = (hasConv: boolean): number => (hasConv ? 1 : 0)

/** Tensors of a layer as a file stores them. */
export interface StoredLayer {
  readonly module: string
  readonly kind: AdapterKind
  readonly a: Tensor
  readonly b: Tensor
  readonly magnitude?: Tensor
}

/**
 * Groups tensors by the module that their names begin with, in the order of the names.
 * @param explain the error for a name that is not that of an adapter tensor
 * @throws OnnxIreError `invalid-data` for a layer without A or B
 */
export function groupLayers(
  tensors: Iterable<readonly [string, Tensor]>,
  explain: (name: string) => OnnxIreError,
): StoredLayer[] {
  const modules = new Map<string, Map<string, Tensor>>()
  for (const [name, tensor] of tensors) {
    const [, module, role] = tensorName.exec(name) ?? []
    if (module === undefined || role === undefined) throw explain(name)
    const roles = modules.get(module) ?? new Map<string, Tensor>()
    modules.set(module, roles.set(role, tensor))
  }
  return [...modules].map(([module, roles]) => {
    const isEmbedding = roles.has('lora_embedding_A') || roles.has('lora_embedding_B')
    const [a, b] = isEmbedding ? ['lora_embedding_A', 'lora_embedding_B'] : ['lora_A.weight', 'lora_B.weight']
    const missing = [a!, b!].find((role) => !roles.has(role))
    const surplus = [...roles.keys()].find((role) => role !== a && role !== b && role !== 'lora_magnitude_vector')
    if (surplus !== undefined)
      throw invalidAdapter(`module '${module}' has ${a} and ${surplus}; it can be a layer or an embedding, not both`)
    if (missing !== undefined) throw invalidAdapter(`${module}.${missing} is missing: the file is incomplete`)
    const magnitude = roles.get('lora_magnitude_vector')
    const down = roles.get(a!)!
    const kind = isEmbedding ? 'embedding' : down.dims.length > 2 ? 'conv' : 'linear'
    return { module, kind, a: down, b: roles.get(b!)!, ...(magnitude && { magnitude }) }
  })
}

/** Throws `invalid-data` unless A and B of a layer, in PEFT's layout, have the same rank and the axes of their kind. */
export function checkLayer({ module, kind, a, b, magnitude }: AdapterLayer): void {
  const shapes = `A is ${formatType(a)} and B is ${formatType(b)}`
  const axes = kind === 'conv' ? a.dims.length >= 3 && b.dims.length === a.dims.length : a.dims.length === 2
  const window = b.dims.slice(2)
  if (!axes || (kind !== 'conv' && b.dims.length !== 2) || window.some((size) => size !== 1))
    throw invalidAdapter(`module '${module}': ${shapes}, which are not the axes of a ${kind} layer`)
  const [r] = a.dims
  const perGroup = b.dims[1]!
  if (r === 0 || perGroup === 0 || (kind === 'conv' ? r! % perGroup !== 0 : r !== perGroup))
    throw invalidAdapter(`module '${module}': ${shapes}: their ranks must be equal and above 0`)
  if (magnitude && magnitude.dims.join() !== `${b.dims[0]}`)
    throw invalidAdapter(`module '${module}': the magnitudes are ${formatType(magnitude)}, B is ${formatType(b)}`)
}

/** Throws `invalid-data` unless there are layers, all of them valid, each of another module. */
export function checkLayers(layers: readonly AdapterLayer[]): void {
  if (layers.length === 0) throw invalidAdapter('it has no layers')
  const modules = new Set<string>()
  for (const layer of layers) {
    checkLayer(layer)
    if (modules.has(layer.module)) throw invalidAdapter(`module '${layer.module}' occurs twice`)
    modules.add(layer.module)
  }
}

/** The error of adapter data that cannot be used. */
export const invalidAdapter = (reason: string): OnnxIreError => new OnnxIreError('invalid-data', `adapter: ${reason}`)

/**
 * A floating-point tensor as float32 or float16: bfloat16 and float64 become float32. Throws `invalid-data` for others.
 */
export function toAdapterType(name: string, tensor: Tensor): Tensor {
  const { dtype, dims } = tensor
  if (dtype === 'float32' || dtype === 'float16') return tensor
  if (dtype === 'bfloat16' || dtype === 'float64') return tensorFrom('float32', dims, numbersOf(tensor))
  throw invalidAdapter(`tensor '${name}' is ${dtype}; the tensors of an adapter must be floating-point`)
}

/** Transposes a matrix. */
export function transpose({ dtype, dims, data }: Tensor): Tensor {
  const [rows, columns] = dims as [number, number]
  const from = data as Float32Array
  const to = from.slice()
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j]!
  return { dtype, dims: [columns, rows], data: to }
}
