import { type DType, dtypes, isFloat } from '../ir/dtype.js'
import { sizeOf } from '../ir/tensor.js'
import type { Attribute } from '../ir/value.js'
import { isStandardDomain, qualifiedName } from '../onnx/import/model-nodes.js'
import { checkModel, type Model } from '../onnx/model.js'
import type { NodeProto } from '../onnx/proto/schema.js'
import { append } from '../util/append.js'
import { invalidOption } from '../util/check.js'
import { sum } from '../util/statistics.js'
import type { AdapterKind } from './adapter.js'
import { createInsertedMatcher, findRecord } from './record.js'
import { type LayerScope, listScopes } from './scopes.js'
import { attributesOf, findWeight, type NamedValues, traceTensor, type WeightSource } from './weight-source.js'

/** Layer of a model that an adapter can change. */
export interface AdaptableLayer {
  /** Path of the PyTorch module, for instance `model.layers.0.self_attn.q_proj`; unique in the model. */
  readonly module: string
  /** Name of the node, or of its output if it has none. */
  readonly node: string
  /** Operator of the node, with its domain unless that is ai.onnx. */
  readonly operator: string
  readonly kind: AdapterKind
  /** Inputs of a linear layer, channels of a convolution, rows of an embedding. */
  readonly in: number
  /** Outputs of a linear layer, channels of a convolution, width of an embedding. */
  readonly out: number
  /** Window of a convolution. */
  readonly kernel?: readonly number[]
  /** Groups of a convolution that has several. */
  readonly groups?: number
  /** The stored weight. */
  readonly weight: { readonly tensor: string; readonly dtype: DType; readonly bits: number }
  /** Whether `all-linear` includes the layer: every linear layer except the output layer of a language model. */
  readonly isDefault: boolean
}

/** Options of functions that find layers. */
export interface LayerOptions {
  /**
   * Outputs of query, key and value in a packed `qkv_proj`. Default: from the attention node that reads it
   * (GroupQueryAttention or Split).
   */
  readonly qkvSizes?: readonly [number, number, number]
}

/** Place where a module is computed: one node. */
export interface Site {
  readonly node: NodeProto
  /** Name of the activation, or of the indices of an embedding. */
  readonly input: string
  /** Type of the activation. */
  readonly dtype: DType
  /** The layer reads its input transposed (Gemm, FusedMatMul). */
  readonly isInputTransposed: boolean
  readonly attributes: Readonly<Record<string, Attribute>>
}

/** Part of a packed layer. */
interface Part {
  /** Module of the packed layer. */
  readonly of: string
  /** Position among the parts, and the number of outputs of each. */
  readonly index: number
  readonly sizes: readonly number[]
}

/** Tensors of an embedding in blocks. */
export interface BlockTable {
  readonly data: WeightSource
  readonly scales: WeightSource
  readonly zeroPoints: WeightSource | undefined
}

/** Layer with its sites: several if the model computes a module several times, with one weight. */
export interface Layer extends AdaptableLayer {
  readonly sites: readonly Site[]
  /** The stored weight; undefined if it is stored in blocks without an ONNX type. */
  readonly source: WeightSource | undefined
  /** The tensors of an embedding in blocks (GatherBlockQuantized). */
  readonly table?: BlockTable
  /** Axis of the outputs in the weight that the node reads. */
  readonly outAxis: number
  /** Factor of the weight in the node (Gemm, FusedMatMul). */
  readonly alpha: number
  readonly part?: Part
}

/** A layer as found at one node, before layers with the same weight are joined. */
type Found = Omit<AdaptableLayer, 'module' | 'isDefault' | 'node' | 'operator'> &
  Pick<Layer, 'source' | 'table' | 'outAxis' | 'alpha'> & { readonly site: Site }

/**
 * Lists the layers of a model that an adapter can change: products with a stored weight (MatMul, Gemm, FusedMatMul,
 * MatMulNBits; also through DequantizeLinear, Cast, Transpose or Reshape), convolutions, and embeddings.
 * Layers in bodies of If, Loop and Scan are included unless several bodies have tensors of the same name; those in
 * functions are not: see `inlineFunctions`.
 *
 * @example
 * for (const { module, in: inputs, out } of adaptableLayers(model)) console.log(module, inputs, out)
 *
 * @throws OnnxIreError `invalid-model`; `invalid-option` if `qkvSizes` do not add up to the outputs of a packed layer
 */
export function adaptableLayers(model: Model, options: LayerOptions = {}): readonly AdaptableLayer[] {
  return findLayers(model, options).map(
    ({ module, node, operator, kind, in: inputs, out, kernel, groups, weight, isDefault }) => ({
      module,
      node,
      operator,
      kind,
      in: inputs,
      out,
      ...(kernel && { kernel }),
      ...(groups !== undefined && { groups }),
      weight,
      isDefault,
    }),
  )
}

/** Finds the layers of a model that an adapter can change, with the places where they are computed. */
export function findLayers(model: Model, { qkvSizes }: LayerOptions = {}): readonly Layer[] {
  checkModel(model)
  const scopes = listScopes(model)
  const [{ tensors }] = scopes as [LayerScope]
  const scopeOf = new Map<Found, LayerScope>()
  const groups = new Map<string, Found[]>()
  const record = findRecord(model.proto)
  const isInserted = record ? createInsertedMatcher(record) : () => false
  for (const scope of scopes)
    for (const node of scope.graph.node) {
      const found = isInserted(node.name ?? '') ? undefined : findLayer(node, scope)
      if (!found || !tensors.has(found.weight.tensor)) continue
      const { kind, weight, outAxis, source, in: inputs, out } = found
      const views = source?.views.map((view) => [view.kind, view.dims, view.kind === 'transpose' && view.perm])
      append(groups, JSON.stringify([kind, weight.tensor, inputs, out, outAxis, views]), found)
      scopeOf.set(found, scope)
    }
  const named = nameModules([...groups.values()])
  const embeddings = named.flatMap(([, [first]]) => (first?.kind === 'embedding' ? [first] : []))
  const words = Math.max(0, ...embeddings.map(({ in: rows }) => rows))
  const tied = new Set(embeddings.map(({ weight }) => weight.tensor))
  return named.flatMap(([module, group]) => {
    const { site, kind, ...first } = group[0]!
    const scope = scopeOf.get(group[0]!)!
    const isOutput = isOutputName(module) || isWordOutput(group[0]!, words, tied, scope)
    const layer: Layer = {
      ...first,
      kind,
      module,
      node: nameOf(site.node),
      operator: qualifiedName(site.node),
      isDefault: kind === 'linear' && !isOutput,
      sites: group.map((found) => found.site),
    }
    const sizes = kind === 'linear' && /(^|\.)qkv_proj$/.test(module) ? splitSizes(layer, scope, qkvSizes) : undefined
    if (!sizes) return [layer]
    return [{ ...layer, isDefault: false }, ...splitLayer(layer, sizes)]
  })
}

/** Number of elements of the weights of layers. Parts of a packed layer, and layers with one weight, count once. */
export function countWeights(layers: readonly AdaptableLayer[]): number {
  const sizes = new Map<string, number>()
  for (const { weight, in: inputs, out, kernel = [], groups = 1 } of layers) {
    const elements = (inputs * out * sizeOf(kernel)) / groups
    sizes.set(weight.tensor, Math.max(elements, sizes.get(weight.tensor) ?? 0))
  }
  return sum(sizes.values())
}

export const nameOf = ({ name, output }: NodeProto): string => name || (output[0] ?? '')

/** The layer that a node computes, if an adapter can change it. */
export function findLayer(node: NodeProto, values: NamedValues): Found | undefined {
  switch (qualifiedName(node)) {
    case 'MatMul':
    case 'Gemm':
    case 'com.microsoft.FusedMatMul':
      return findProduct(node, values)
    case 'com.microsoft.MatMulNBits':
      return findBlockProduct(node, values)
    case 'Conv':
      return findConvolution(node, values)
    case 'Gather':
      return findEmbedding(node, values)
    case 'com.microsoft.GatherBlockQuantized':
      return findBlockEmbedding(node, values)
    default:
      return undefined
  }
}

const describeWeight = ({ name, stored: { dtype } }: WeightSource): AdaptableLayer['weight'] => ({
  tensor: name,
  dtype,
  bits: dtypes[dtype].bits,
})

function findProduct(node: NodeProto, values: NamedValues): Found | undefined {
  const [input = '', weight = ''] = node.input
  const source = findWeight(values, weight)
  if (source?.dims.length !== 2 || values.tensors.has(input)) return undefined
  const attributes = attributesOf(node)
  if (attributes['transBatchA'] || attributes['transBatchB']) return undefined
  const outAxis = attributes['transB'] ? 0 : 1
  return {
    kind: 'linear',
    in: source.dims[1 - outAxis]!,
    out: source.dims[outAxis]!,
    weight: describeWeight(source),
    source,
    outAxis,
    alpha: Number(attributes['alpha'] ?? 1),
    site: { node, input, dtype: source.dtype, isInputTransposed: Boolean(attributes['transA']), attributes },
  }
}

function findBlockProduct(node: NodeProto, { tensors }: NamedValues): Found | undefined {
  const [input = '', tensor = '', scales = ''] = node.input
  const [stored, scale] = [tensors.get(tensor), tensors.get(scales)]
  const attributes = attributesOf(node)
  const { K, N, bits = 4 } = attributes
  if (!stored || !scale || typeof K !== 'number' || typeof N !== 'number') return undefined
  return {
    kind: 'linear',
    in: K,
    out: N,
    weight: { tensor, dtype: stored.dtype, bits: Number(bits) },
    source: undefined,
    outAxis: 0,
    alpha: 1,
    site: { node, input, dtype: scale.dtype, isInputTransposed: false, attributes },
  }
}

function findConvolution(node: NodeProto, values: NamedValues): Found | undefined {
  const [input = '', weight = ''] = node.input
  const source = findWeight(values, weight)
  const attributes = attributesOf(node)
  if (!source || source.dims.length < 3) return undefined
  const groups = Number(attributes['group'] ?? 1)
  const [out, channels, ...kernel] = source.dims as [number, number, ...number[]]
  return {
    kind: 'conv',
    in: channels * groups,
    out,
    kernel,
    ...(groups !== 1 && { groups }),
    weight: describeWeight(source),
    source,
    outAxis: 0,
    alpha: 1,
    site: { node, input, dtype: source.dtype, isInputTransposed: false, attributes },
  }
}

function findEmbedding(node: NodeProto, values: NamedValues): Found | undefined {
  const [weight = '', input = ''] = node.input
  const source = findWeight(values, weight)
  const attributes = attributesOf(node)
  if (source?.dims.length !== 2 || (attributes['axis'] ?? 0) !== 0 || values.tensors.has(input)) return undefined
  return {
    kind: 'embedding',
    in: source.dims[0]!,
    out: source.dims[1]!,
    weight: describeWeight(source),
    source,
    outAxis: 1,
    alpha: 1,
    site: { node, input, dtype: source.dtype, isInputTransposed: false, attributes },
  }
}

function findBlockEmbedding(node: NodeProto, values: NamedValues): Found | undefined {
  const [data = '', input = '', scales = '', zeros = ''] = node.input
  // With tied embeddings the bytes are those of the output layer, after a Reshape.
  const [source, scale] = [traceTensor(values, data), traceTensor(values, scales)]
  const zeroPoints = zeros === '' ? undefined : traceTensor(values, zeros)
  const attributes = attributesOf(node)
  const { gather_axis: axis = 0, bits = 4 } = attributes
  if (source?.dims.length !== 2 || !scale || axis !== 0 || !isFloat(scale.dtype)) return undefined
  if (zeros !== '' && !zeroPoints) return undefined
  const { dtype } = source.stored
  const perByte = dtype === 'uint8' ? 8 / Number(bits) : 1
  return {
    kind: 'embedding',
    in: source.dims[0]!,
    out: source.dims[1]! * perByte,
    weight: { tensor: source.name, dtype, bits: dtype === 'uint8' ? Number(bits) : dtypes[dtype].bits },
    source: undefined,
    table: { data: source, scales: scale, zeroPoints },
    outAxis: 1,
    alpha: 1,
    site: { node, input, dtype: scale.dtype, isInputTransposed: false, attributes },
  }
}

/**
 * Names the module of each group. If several have the same path, the names of their weights or numbers distinguish
 * them.
 */
function nameModules(groups: readonly (readonly Found[])[]): readonly (readonly [string, readonly Found[]])[] {
  const paths = groups.map(
    ([first]) => deriveModulePath(first!.site.node, first!.weight.tensor) ?? first!.weight.tensor,
  )
  const counts = new Map<string, number>()
  for (const path of paths) counts.set(path, (counts.get(path) ?? 0) + 1)
  const taken = new Set(paths.filter((path) => counts.get(path) === 1))
  return groups.map((group, i) => {
    const path = paths[i]!
    if (counts.get(path) === 1) return [path, group]
    const { kind, weight } = group[0]!
    const stems = [path, `${path}.${weight.tensor.split(/[./]/).at(-1)}`]
    // The output layer of a language model whose weight is that of the embedding.
    if (
      kind === 'linear' &&
      groups.some(([other]) => other!.kind === 'embedding' && other!.weight.tensor === weight.tensor)
    )
      stems.unshift('lm_head')
    let name = stems.find((stem) => !taken.has(stem))
    for (let n = 1; name === undefined; n++) name = taken.has(`${path}_${n}`) ? undefined : `${path}_${n}`
    taken.add(name)
    return [name, group]
  })
}

/** Whether a module has a usual name of the output layer of a language model. */
export const isOutputName = (module: string): boolean => /(^|\.)(lm_head|embed_out)$/.test(module)

/** Operators between the output layer and the output of a language model. */
const passing = /^(Add|Cast|Identity|Mul|Div|Tanh|Slice|Reshape|Unsqueeze|Squeeze)$/

/**
 * Whether a linear layer is the output layer of a language model: it shares the weight of an embedding, or its outputs
 * are as many as the words, and lead to an output of the model.
 * @param words rows of the largest embedding
 * @param tied stored weights of the embeddings
 */
function isWordOutput(
  { kind, weight, out, site }: Found,
  words: number,
  tied: ReadonlySet<string>,
  { consumers, outputs }: LayerScope,
): boolean {
  if (kind !== 'linear') return false
  if (tied.has(weight.tensor)) return true
  if (out !== words) return false
  let name = site.node.output[0] ?? ''
  for (let steps = 0; steps < 8 && !outputs.has(name); steps++) {
    const [next] = consumers.get(name) ?? []
    if (!next || !isStandardDomain(next) || !passing.test(next.opType ?? '')) return false
    name = next.output[0] ?? ''
  }
  return outputs.has(name)
}

/** Outputs of query, key and value in a packed layer: given, or from the node that reads them, after a bias if any. */
function splitSizes(
  { sites, out, module }: Layer,
  { consumers, tensors }: LayerScope,
  given: readonly number[] | undefined,
): readonly number[] | undefined {
  if (given) {
    if (given.length !== 3 || given.reduce((sum, size) => sum + size, 0) !== out)
      throw invalidOption(
        'adapter',
        'qkvSizes',
        `[${given}]`,
        `three sizes whose sum is ${out}, the outputs of ${module}`,
      )
    return given
  }
  let name = sites[0]!.node.output[0] ?? ''
  for (let steps = 0; steps < 4; steps++) {
    const readers = consumers.get(name) ?? []
    const [reader] = readers
    if (!reader || readers.length !== 1) return undefined
    const attributes = attributesOf(reader)
    const { num_heads: heads, kv_num_heads: kvHeads } = attributes
    switch (qualifiedName(reader)) {
      case 'com.microsoft.GroupQueryAttention': {
        if (reader.input[1] || typeof heads !== 'number' || typeof kvHeads !== 'number') return undefined
        const headSize = out / (heads + 2 * kvHeads)
        return Number.isInteger(headSize) ? [heads * headSize, kvHeads * headSize, kvHeads * headSize] : undefined
      }
      case 'Split': {
        const stored = tensors.get(reader.input[1] ?? '')
        const sizes = stored ? Array.from(stored.data as ArrayLike<bigint>, Number) : (attributes['split'] as number[])
        const lengths = sizes ?? reader.output.map(() => out / reader.output.length)
        return lengths.length === 3 && lengths.reduce((sum, size) => sum + size, 0) === out ? lengths : undefined
      }
      case 'Add':
      case 'Cast':
      case 'Identity':
        name = reader.output[0] ?? ''
        break
      default:
        return undefined
    }
  }
  return undefined
}

const splitLayer = (layer: Layer, sizes: readonly number[]): readonly Layer[] =>
  ['q_proj', 'k_proj', 'v_proj'].map((name, index) => ({
    ...layer,
    module: layer.module.replace(/qkv_proj$/, name),
    out: sizes[index]!,
    part: { of: layer.module, index, sizes },
  }))

/**
 * Derives the path of the PyTorch module that a node belongs to, such as `model.layers.0.self_attn.q_proj`: from the
 * scopes that torch.onnx writes into its metadata, from the name of the node, or from the name of its weight. Exporters
 * rename weights (`onnx::MatMul_123`), and onnxruntime-genai shortens `self_attn` to `attn`.
 *
 * @param weight name of the stored weight
 * @returns undefined if neither has a name
 */
export function deriveModulePath(node: NodeProto, weight: string): string | undefined {
  const path = fromScopes(node) ?? fromNodeName(node.name ?? '') ?? fromWeightName(weight) ?? (node.name || undefined)
  return path?.replace(/(layers\.\d+)\.attn\.(?=(?:q|k|v|o|qkv)_proj$)/, '$1.self_attn.')
}

/** Module paths from outermost to innermost, as a Python list: `['', 'model', 'model.layers.0', ..., 'linear_3']`. */
function fromScopes({ metadataProps }: NodeProto): string | undefined {
  const scopes = metadataProps.find(({ key }) => key === 'pkg.torch.onnx.name_scopes')?.value
  const names = [...(scopes ?? '').matchAll(/'([^']*)'/g)].map(([, name]) => name!)
  return names.length > 2 ? names.at(-2) || undefined : undefined
}

const operatorName = /^(MatMul|Gemm|Conv|Gather|FusedMatMul|GatherBlockQuantized|BiasAdd|Add)(?![a-z])/

/** `/model/layers.0/mlp/up_proj/MatMul_Q4` and TensorFlow's `model/dense/MatMul`, without the operator. */
function fromNodeName(name: string): string | undefined {
  // onnxruntime's optimizer names a fused node after the first of its nodes.
  const parts = name
    .replace(/^fused /, '')
    .split('/')
    .filter((part) => part !== '')
  if (parts.length < 2) return undefined
  while (parts.length > 1 && operatorName.test(parts.at(-1)!)) parts.pop()
  return operatorName.test(parts[0]!) ? undefined : parts.join('.')
}

/** `fc.weight`, `model.layers.0.attn.q_proj.MatMul.weight`, `..._Q4G32`, without the suffixes of exporters. */
function fromWeightName(name: string): string | undefined {
  if (name === '' || name.includes('::')) return undefined
  const plain = name
    .replace(/_(Q[248](G\d+)?|DQ_?\w*|quantized|quant)$/, '')
    .replace(/[._](weight|qweight|kernel|weight_?q|weights?)(:0|_T|_transposed)?$/i, '')
    .replace(/[./](MatMul(NBits)?|Gemm|Conv|Gather)$/, '')
  return plain.split('/').filter(Boolean).join('.') || undefined
}
