import { numbersOf } from '../ir/leaf.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { qualifiedName, walkNodes } from '../onnx/import/model-nodes.js'
import { type Model, namedTensors } from '../onnx/model.js'
import { intAttribute } from '../onnx/proto/attribute.js'
import { create, edit } from '../onnx/proto/message.js'
import type { GraphProto, NodeProto, TensorProto } from '../onnx/proto/schema.js'
import { toTensorProto } from '../onnx/proto/tensor.js'
import { append } from '../util/append.js'
import { checkNames, invalidOption } from '../util/check.js'
import { claimName } from '../util/claim-name.js'
import { OnnxIreError } from '../util/errors.js'
import { applyAdapter, findPairs } from './apply-adapter.js'
import { type BlockForm, type BlockWeight, quantizeBlocks, readBlocks } from './blocks.js'
import type { LayerPair } from './insert-adapter.js'
import { mergeAdapter } from './merge-adapter.js'
import { mergeWeight } from './merged-weight.js'
import { adapterOf, recordOf, removeAdapter } from './read-adapter.js'
import { dropUnread } from './scopes.js'
import { attributesOf } from './weight-source.js'

/** Options of `quantizeModel`. */
export interface QuantizeOptions {
  /** Bits of a weight: 4 (default) or 8. */
  readonly bits?: 4 | 8
  /** Weights that share a scale: a power of two of at least 16. Default 32. */
  readonly blockSize?: number
}

/** Checks options and sets defaults. Throws `invalid-option`. */
function checkQuantizeOptions(owner: string, options: QuantizeOptions): Required<QuantizeOptions> {
  checkNames(owner, options, ['bits', 'blockSize'])
  const { bits = 4, blockSize = 32 } = options
  if (bits !== 4 && bits !== 8) throw invalidOption(owner, 'bits', bits, '4 or 8')
  if (!(blockSize >= 16 && blockSize <= 2 ** 20 && Number.isInteger(Math.log2(blockSize))))
    throw invalidOption(owner, 'blockSize', blockSize, 'a power of two from 16 to 1048576')
  return { bits, blockSize }
}

/**
 * Quantizes the weights of a model's MatMul and Gemm nodes, which may read them through a Transpose: each becomes a
 * MatMulNBits with symmetric blocks, as in the `q4` files of transformers.js. Everything else keeps its bytes: other
 * operators, embeddings, products in bodies of If and Loop.
 *
 * @throws OnnxIreError `invalid-option`, or `invalid-model` if no product has a stored float weight
 *
 * @example
 * ```ts
 * const q4 = quantizeModel(mergeAdapter(model))
 * ```
 */
export function quantizeModel(model: Model, options: QuantizeOptions = {}): Model {
  const products = quantizeProducts(model, checkQuantizeOptions('quantizeModel', options))
  return insertBlocks(model, products)
}

/** Quantizes the stored float weight of every product, which may read its transpose. */
function quantizeProducts(model: Model, { bits, blockSize }: Required<QuantizeOptions>): Map<NodeProto, BlockNode> {
  const tensors = namedTensors(model)
  const products = new Map<NodeProto, BlockNode>()
  const weights = new Map<string, BlockNode>()
  const transposed = findTransposed(model.proto.graph!)
  for (const node of model.proto.graph!.node) {
    const [input = '', operand = ''] = node.input
    const name = transposed.get(operand) ?? operand
    const stored = tensors.get(name)
    const readsTransposed = !tensors.has(input) && stored?.dims.length === 2 ? readProduct(node) : undefined
    if (!stored || readsTransposed === undefined || sizeOf(stored.dims) === 0) continue
    const isTransposed = readsTransposed !== transposed.has(operand)
    if (stored.dtype !== 'float32' && stored.dtype !== 'float16') continue
    const key = `${isTransposed} ${name}`
    let block = weights.get(key)
    if (!block) {
      const [rows, columns] = stored.dims as [number, number]
      const [n, k] = isTransposed ? [rows, columns] : [columns, rows]
      const [outputStride, inputStride] = isTransposed ? [k, 1] : [1, n]
      const form = { n, k, bits, blockSize }
      const elements = { elements: toFloat32(stored), outputStride, inputStride }
      block = { form, name, weight: quantizeBlocks(elements, form, stored.dtype, name) }
      weights.set(key, block)
    }
    products.set(node, block)
  }
  return products
}

/** The operands of nodes that swap two axes, by the names of their results. */
const findTransposed = ({ node: nodes }: GraphProto): ReadonlyMap<string, string> =>
  new Map(
    nodes.flatMap((node) => {
      if (qualifiedName(node) !== 'Transpose') return []
      const { perm } = attributesOf(node)
      const [[x = ''], [y = '']] = [node.input, node.output]
      return perm === undefined || `${perm}` === '1,0' ? [[y, x] as const] : []
    }),
  )

/** The elements of a float32 or float16 tensor. A large float16 one is converted in pieces. */
function toFloat32({ dtype, data }: Tensor): Float32Array {
  if (data instanceof Float32Array) return data
  const bits = data as Uint16Array
  const elements = new Float32Array(bits.length)
  const piece = 2 ** 16
  for (let at = 0; at < bits.length; at += piece) {
    const part = bits.subarray(at, at + piece)
    elements.set(numbersOf({ dtype, dims: [part.length], data: part }), at)
  }
  return elements
}

/** Whether a product reads its weight as [n, k]; undefined for other nodes, and for a Gemm with factors. */
function readProduct(node: NodeProto): boolean | undefined {
  const operator = qualifiedName(node)
  if (operator === 'MatMul') return false
  if (operator !== 'Gemm') return undefined
  const { alpha = 1, beta = 1, transA = 0, transB = 0 } = attributesOf(node)
  return alpha === 1 && beta === 1 && transA === 0 ? transB === 1 : undefined
}

/**
 * Merges the adapter of a model into its weights, as `mergeAdapter`, and quantizes the weights of all products, as
 * `quantizeModel`. A layer over MatMulNBits is dequantized, merged and quantized to these options; MatMulNBits nodes
 * without an adapter keep their bytes. Rounding loses a part of what was trained: compare the loss before and after.
 *
 * @throws OnnxIreError `invalid-option` if the model has no adapter, or one over weights quantized in another form;
 *   `invalid-model` if it has no product to quantize; `not-finite` if an element or a scale is too large for its type
 *
 * @example
 * ```ts
 * await writeModel('model_q4.onnx', mergeQuantized(trainer.export()))
 * ```
 */
export function mergeQuantized(model: Model, options: QuantizeOptions = {}): Model {
  const checked = checkQuantizeOptions('mergeQuantized', options)
  const { qkvSizes } = recordOf(model)
  const layerOptions = qkvSizes ? { qkvSizes } : {}
  const base = removeAdapter(model)
  const adapter = adapterOf(model)
  const pairs = findPairs(base, adapter, layerOptions)
  const inBlocks = pairs.filter(({ layer }) => layer.operator === 'com.microsoft.MatMulNBits')
  const main = new Set(base.proto.graph!.node)
  const inBranch = inBlocks.find(({ layer }) => layer.sites.some(({ node }) => !main.has(node)))
  if (inBranch)
    throw new OnnxIreError(
      'invalid-option',
      `the adapter cannot be merged: ${inBranch.layer.module} is in the branches of an If, where weights in blocks are not quantized again: leave the adapter beside the weights`,
    )
  const rest = pairs.filter((pair) => !inBlocks.includes(pair)).map((pair) => pair.adapter)
  const merged =
    rest.length > 0 || adapter.saved || adapter.scalings
      ? mergeAdapter(applyAdapter(base, { ...adapter, layers: rest }, layerOptions))
      : base
  const products = new Map([...quantizeProducts(merged, checked), ...quantizeAgain(merged, inBlocks, checked)])
  // Factors are part of the scales of weights that are all quantized already.
  return products.size === 0 && adapter.scalings ? merged : insertBlocks(merged, products)
}

/** Merges adapter layers into weights in blocks and quantizes these again. */
function quantizeAgain(
  model: Model,
  pairs: readonly LayerPair[],
  { bits, blockSize }: Required<QuantizeOptions>,
): Map<NodeProto, BlockNode> {
  const tensors = namedTensors(model)
  const nodes = new Map(model.proto.graph!.node.map((node) => [node.output[0], node]))
  // Parts of a packed layer change one weight.
  const groups = new Map<string, LayerPair[]>()
  for (const pair of pairs) append(groups, pair.layer.node, pair)
  const products = new Map<NodeProto, BlockNode>()
  for (const group of groups.values()) {
    const { module, sites, in: k } = group[0]!.layer
    const { attributes, dtype } = sites[0]!
    const n = Number(attributes['N'])
    const changed = group.reduce(
      (elements, { layer, adapter }) => mergeWeight(layer, adapter, elements),
      readBlocks(group[0]!.layer, tensors),
    )
    const again = { n, k, bits, blockSize }
    const type = dtype === 'float16' ? 'float16' : 'float32'
    const block = {
      form: again,
      name: `${module}.merged`,
      weight: quantizeBlocks({ elements: changed, outputStride: k, inputStride: 1 }, again, type, module),
    }
    for (const site of sites) products.set(nodes.get(site.node.output[0])!, block)
  }
  return products
}

/** The weight of one or several MatMulNBits nodes. */
interface BlockNode {
  readonly form: BlockForm
  /** Prefix of the names of its tensors. */
  readonly name: string
  readonly weight: BlockWeight
}

/** Replaces products by MatMulNBits nodes; removes the weights that no node reads any more. */
function insertBlocks(model: Model, replaced: ReadonlyMap<NodeProto, BlockNode>): Model {
  if (replaced.size === 0)
    throw new OnnxIreError(
      'invalid-model',
      'no MatMul or Gemm of the model has a stored weight of type float32 or float16, so there is nothing to quantize',
    )
  const graph = model.proto.graph!
  const taken = namesOf(graph)
  const added: TensorProto[] = []
  const names = new Map<BlockNode, readonly string[]>()
  const add = (block: BlockNode): readonly string[] => {
    const known = names.get(block)
    if (known) return known
    const { name, form, weight } = block
    const stored = [
      toTensorProto(claimName(`${name}_Q${form.bits}`, taken), weight.q),
      toTensorProto(claimName(`${name}_scales`, taken), weight.scales),
    ]
    added.push(...stored)
    const claimed = stored.map((tensor) => tensor.name!)
    names.set(block, claimed)
    return claimed
  }
  const node = graph.node.flatMap((each) => {
    const block = replaced.get(each)
    return block ? toBlockNodes(each, block.form, add(block), taken) : [each]
  })
  const operands = new Set([...replaced.keys()].flatMap(({ input }) => input.slice(1, 4)))
  const transposed = [...findTransposed(graph)].flatMap(([y, x]) => (operands.has(y) ? [x] : []))
  const edited = dropUnread(
    dropUnread(edit(graph, { node, initializer: [...graph.initializer, ...added] }), operands),
    new Set(transposed),
  )
  const { opsetImport } = model.proto
  const opsets = opsetImport.some(({ domain }) => domain === 'com.microsoft')
    ? opsetImport
    : [...opsetImport, create('OperatorSetIdProto', { domain: 'com.microsoft', version: 1n })]
  return { ...model, proto: edit(model.proto, { graph: edited, opsetImport: opsets }) }
}

/** Names of the tensors, values and nodes of a graph. */
function namesOf(graph: GraphProto): Set<string> {
  const taken = new Set([...graph.initializer, ...graph.input].map(({ name = '' }) => name))
  for (const { name = '', output } of walkNodes(graph)) for (const each of [name, ...output]) taken.add(each)
  return taken
}

/**
 * The MatMulNBits of a product, with the names of its weight and scales, and the Add of the bias of a Gemm.
 * @param taken names of the graph, to which new ones are added
 */
function toBlockNodes(
  product: NodeProto,
  { n, k, bits, blockSize }: BlockForm,
  weight: readonly string[],
  taken: Set<string>,
): readonly NodeProto[] {
  const { name, opType, input } = product
  const attributes = Object.entries({ K: k, N: n, bits, block_size: blockSize })
  const level = product.attribute.filter(({ name }) => name === 'accuracy_level')
  // Input 5 of a MatMulNBits is its bias; that of a Gemm is added, since not every provider has the input.
  const bias = opType === 'MatMulNBits' && input[5] ? ['', '', input[5]] : []
  const added = opType === 'Gemm' && input[2] ? input[2] : undefined
  const output = product.output[0]!
  const blocks = (result: string) =>
    create('NodeProto', {
      opType: 'MatMulNBits',
      domain: 'com.microsoft',
      ...(name && { name }),
      input: [input[0]!, ...weight, ...bias],
      output: [result],
      attribute: [...attributes.map(([name, value]) => intAttribute(name, value)), ...level],
    })
  if (added === undefined) return [blocks(output)]
  const result = claimName(`${output}_product`, taken)
  const sum = create('NodeProto', {
    opType: 'Add',
    ...(name && { name: claimName(`${name}_bias`, taken) }),
    input: [result, added],
    output: [output],
  })
  return [blocks(result), sum]
}
