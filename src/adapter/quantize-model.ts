import { numbersOf } from '../ir/leaf.js'
import { sizeOf } from '../ir/tensor.js'
import { qualifiedName, walkNodes } from '../onnx/import/model-nodes.js'
import { type Model, namedTensors } from '../onnx/model.js'
import { create, edit } from '../onnx/proto/message.js'
import { type AttributeProto, attributeTypes, type NodeProto, type TensorProto } from '../onnx/proto/schema.js'
import { toTensorProto } from '../onnx/proto/tensor.js'
import { checkNames, invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { type BlockForm, type BlockWeight, quantizeBlocks } from './block-weights.js'

/** Options of `quantizeModel`. */
export interface QuantizeOptions {
  /** Bits of a weight: 4 (default) or 8. */
  readonly bits?: 4 | 8
  /** Weights that share a scale: a power of two of at least 16. Default 32. */
  readonly blockSize?: number
}

/** Checks options and sets defaults. Throws `invalid-option`. */
export function checkQuantizeOptions(owner: string, options: QuantizeOptions): Required<QuantizeOptions> {
  checkNames(owner, options, ['bits', 'blockSize'])
  const { bits = 4, blockSize = 32 } = options
  if (bits !== 4 && bits !== 8) throw invalidOption(owner, 'bits', bits, '4 or 8')
  if (!(blockSize >= 16 && blockSize <= 2 ** 20 && Number.isInteger(Math.log2(blockSize))))
    throw invalidOption(owner, 'blockSize', blockSize, 'a power of two from 16 to 1048576')
  return { bits, blockSize }
}

/**
 * Quantizes the weights of a model's MatMul nodes: each becomes a MatMulNBits with symmetric blocks, as in the `q4` files
 * of transformers.js. Everything else keeps its bytes: other operators, embeddings, products in bodies of If and Loop.
 *
 * @throws OnnxIreError `invalid-option`, or `invalid-model` if no MatMul has a stored float weight
 *
 * @example
 * ```ts
 * const q4 = quantizeModel(mergeAdapter(model))
 * ```
 */
export function quantizeModel(model: Model, options: QuantizeOptions = {}): Model {
  const { bits, blockSize } = checkQuantizeOptions('quantizeModel', options)
  const tensors = namedTensors(model)
  const replaced = new Map<NodeProto, BlockNode>()
  const weights = new Map<string, BlockNode>()
  for (const node of model.proto.graph!.node) {
    const [input = '', weight = ''] = node.input
    const stored = qualifiedName(node) === 'MatMul' && !tensors.has(input) ? tensors.get(weight) : undefined
    if (stored?.dims.length !== 2 || (stored.dtype !== 'float32' && stored.dtype !== 'float16')) continue
    const [k, n] = stored.dims as [number, number]
    if (sizeOf(stored.dims) === 0) continue
    let block = weights.get(weight)
    if (!block) {
      const elements = numbersOf(stored)
      const byOutput = Float64Array.from(elements, (_, i) => elements[(i % k) * n + Math.floor(i / k)]!)
      const form = { n, k, bits, blockSize }
      block = { form, name: weight, weight: quantizeBlocks(byOutput, form, stored.dtype) }
      weights.set(weight, block)
    }
    replaced.set(node, block)
  }
  if (replaced.size === 0)
    throw new OnnxIreError(
      'invalid-model',
      'quantizeModel: no MatMul of the model has a stored weight of type float32 or float16, so there is nothing to quantize',
    )
  return insertBlocks(model, replaced)
}

/** The weight of one or several MatMulNBits nodes. */
export interface BlockNode {
  readonly form: BlockForm
  /** Prefix of the names of its tensors. */
  readonly name: string
  readonly weight: BlockWeight
}

/** Replaces products by MatMulNBits nodes; removes the weights that no node reads any more. */
export function insertBlocks(model: Model, replaced: ReadonlyMap<NodeProto, BlockNode>): Model {
  const graph = model.proto.graph!
  const taken = new Set(graph.initializer.map(({ name = '' }) => name))
  const added: TensorProto[] = []
  const names = new Map<BlockNode, readonly string[]>()
  const add = (block: BlockNode): readonly string[] => {
    const { name, form, weight } = block
    const known = names.get(block)
    if (known) return known
    const tensors = [
      [`${name}_Q${form.bits}`, weight.q],
      [`${name}_scales`, weight.scales],
    ] as const
    const claimed = tensors.map(([wanted, tensor]) => {
      let free: string = wanted
      for (let i = 2; taken.has(free); i++) free = `${wanted}_${i}`
      taken.add(free)
      added.push(toTensorProto(free, tensor))
      return free
    })
    names.set(block, claimed)
    return claimed
  }
  const node = graph.node.map((each) => {
    const block = replaced.get(each)
    if (!block) return each
    const { n, k, bits, blockSize } = block.form
    const attribute = Object.entries({ K: k, N: n, bits, block_size: blockSize }).map(intAttribute)
    return create('NodeProto', {
      opType: 'MatMulNBits',
      domain: 'com.microsoft',
      ...(each.name && { name: each.name }),
      input: [each.input[0]!, ...add(block)],
      output: each.output,
      attribute,
    })
  })
  const outputs = graph.output.map(({ name = '' }) => name)
  const read = new Set([...outputs, ...[...walkNodes({ ...graph, node })].flatMap(({ input }) => input)])
  const dropped = new Set([...replaced.keys()].flatMap(({ input }) => input.slice(1)))
  const isUnused = (name: string) => dropped.has(name) && !read.has(name)
  const edited = edit(graph, {
    node: node.filter((each) => each.opType !== 'Constant' || !each.output.every(isUnused)),
    initializer: [...graph.initializer.filter(({ name = '' }) => !isUnused(name)), ...added],
    input: graph.input.filter(({ name = '' }) => !isUnused(name)),
  })
  const { opsetImport } = model.proto
  const opsets = opsetImport.some(({ domain }) => domain === 'com.microsoft')
    ? opsetImport
    : [...opsetImport, create('OperatorSetIdProto', { domain: 'com.microsoft', version: 1n })]
  return { ...model, proto: edit(model.proto, { graph: edited, opsetImport: opsets }) }
}

const intAttribute = ([name, value]: [string, number]): AttributeProto =>
  create('AttributeProto', { name, type: attributeTypes.int, i: BigInt(value) })
