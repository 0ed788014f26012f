import { type DType, dtypeOf } from '../ir/dtype.js'
import { tensor } from '../ir/tensor.js'
import { createInput } from '../onnx/import/declarations.js'
import { isStandardDomain } from '../onnx/import/model-nodes.js'
import { intAttribute } from '../onnx/proto/attribute.js'
import { create, edit } from '../onnx/proto/message.js'
import type { GraphProto, NodeProto } from '../onnx/proto/schema.js'
import { toTensorProto } from '../onnx/proto/tensor.js'
import { append } from '../util/append.js'
import { OnnxIreError } from '../util/errors.js'

/**
 * Way in which a model keeps packed examples apart: by an input attention_mask [batch, 1, length, length], which the
 * data fill with blocks; or by an input `segments`, from which `trainingModel` with `pack` computes them. Then the
 * tokens are the input `packed_input_ids`, so that a model without `pack` rejects the data.
 */
export type Packing = { readonly kind: 'mask'; readonly dtype: DType } | ({ readonly kind: 'segments' } & SegmentPlaces)

/** Nodes that `segments` and positions change, by their first output. */
interface SegmentPlaces {
  /** Attention: GroupQueryAttention, Attention, or the Softmax of scores. */
  readonly attention: readonly string[]
  /** Nodes whose first input is the position in the row, for the angles of rotary embeddings. */
  readonly positions: readonly string[]
}

/** Name of the numbers of the packed examples: int64 [batch, length], from 1; 0 for padding. */
export const segmentsName = 'segments'
/** Name of the tokens beside `segments`. */
export const packedTokensName = 'packed_input_ids'

/** Names of the states that a decoder reads: keys and values, and those of hybrid models. */
export const pastName = /^past/
/** Names of the states that a decoder returns. */
export const presentName = /^present/

/** Positions of inputs of GroupQueryAttention. */
const [positionsAt, biasAt] = [9, 10]
/** Position of the mask of Attention. */
const maskAt = 3
/** States of layers that carry tokens to later ones without attention, as transformers.js names them. */
const carriedName = /conv|ssm|recurrent|compressor|indexer/

/**
 * Finds how a decoder keeps packed examples apart.
 * @param owner function and option of the error
 * @throws OnnxIreError `invalid-option` with the reason if it cannot
 */
export function findPacking(owner: string, graph: GraphProto): Packing {
  const stored = new Set(graph.initializer.map(({ name }) => name))
  const inputs = new Map(graph.input.flatMap((info) => (stored.has(info.name) ? [] : [[info.name ?? '', info]])))
  const refuse = (reason: string): never => {
    throw new OnnxIreError('invalid-option', `${owner}: option 'pack' is true, but ${reason}: set it to false`)
  }
  const info = inputs.get('attention_mask')
  const mask = info && createInput(info)
  const hasPositions = inputs.has('position_ids')
  if (mask?.shape?.length === 4)
    return hasPositions
      ? { kind: 'mask', dtype: mask.dtype }
      : refuse('the model has no input position_ids, so packed examples would not begin at position 0')
  const blocked = `the input attention_mask of the model is ${mask ? `[${mask.shape?.join(', ') ?? '?'}]` : 'missing'} and not [batch, 1, length, length]`
  const states = graph.output.map(({ name = '' }) => name).filter((name) => presentName.test(name))
  if (states.length === 0)
    return refuse(`${blocked}, and it has no state of keys and values, so packed examples would attend to each other`)
  const attention = findAttention(graph)
  const other = states.find((name) => !attention.states.has(name))
  if (other !== undefined)
    return refuse(
      carriedName.test(other)
        ? `${blocked}, and '${other}' is the state of a convolution or recurrence, which carries each example into the next without a mask`
        : `${blocked}, and no GroupQueryAttention, Attention or Softmax reads '${other}' as keys or values, so packed examples would attend to each other`,
    )
  const typeOf = createTypeFinder(graph)
  for (const { name = '', input } of attention.nodes.filter(isStandard)) {
    const own = input[maskAt] ?? ''
    if (own !== '' && !typeOf(own)) return refuse(`the mask '${own}' of Attention '${name}' has an unknown type`)
  }
  const grouped = attention.nodes.filter(isGrouped)
  const rotatesItself = grouped.length === attention.nodes.length && grouped.every(hasRotary)
  const positions = hasPositions || rotatesItself ? [] : findRowPositions(graph)
  if (!positions)
    return refuse(
      'the model has no input position_ids and no rotary angles from a Range, so packed examples would not begin at position 0',
    )
  return { kind: 'segments', attention: attention.nodes.map(({ output }) => output[0]!), positions }
}

/** Operators between positions and the sine and cosine of their angles. */
const turning = /^(Cast|Identity|Concat|Transpose|Mul|MatMul|Unsqueeze|Reshape)$/

/**
 * Finds the nodes that read the positions in a row, [1, length], an unsqueezed Range, on the way to a sine or cosine.
 * Undefined if a sine or cosine has none.
 */
function findRowPositions(graph: GraphProto): readonly string[] | undefined {
  const producers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)))
  const found = new Set<string>()
  const isRow = (name: string): boolean => {
    const node = producers.get(name)
    return node?.opType === 'Unsqueeze' && producers.get(node.input[0]!)?.opType === 'Range'
  }
  const visit = (name: string): boolean => {
    const node = producers.get(name)
    if (!node || !isStandardDomain(node) || !turning.test(node.opType ?? '')) return false
    if (isRow(node.input[0]!)) {
      found.add(node.output[0]!)
      return true
    }
    return node.input.map(visit).includes(true)
  }
  const waves = graph.node.filter(({ opType }) => opType === 'Sin' || opType === 'Cos')
  return waves.length > 0 && waves.every(({ input }) => visit(input[0]!)) ? [...found] : undefined
}

/** The nodes in which tokens attend to each other. */
interface Attention {
  /** GroupQueryAttention, Attention, and each Softmax of scores [batch, heads, queries, keys]. */
  readonly nodes: readonly NodeProto[]
  /** States that these nodes read: keys and values of Attention, keys before a Softmax, values times its result. */
  readonly states: ReadonlySet<string>
}

/** Operators that rearrange keys and values between their state and the product. */
const rearranging =
  /^(Cast|Identity|Transpose|Reshape|Unsqueeze|Squeeze|Expand|Tile|Mul|Div|Where|Concat|Slice|Gather)$/
/** Operators between the product of queries and keys and its Softmax. */
const scoring = /^(Cast|Identity|Add|Mul|Div|Sub|Where|Tanh)$/

/** Finds the attention of a decoder from its states of keys and values. */
function findAttention(graph: GraphProto): Attention {
  const producers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)))
  const readers = new Map<string, NodeProto[]>()
  for (const node of graph.node) for (const name of new Set(node.input)) append(readers, name, node)
  /** The nodes that end the ways from a value through operators of a kind. */
  const follow = (name: string, through: RegExp): Set<NodeProto> => {
    const ends = new Set<NodeProto>()
    const visited = new Set<NodeProto>()
    const visit = (value: string): void => {
      for (const node of readers.get(value) ?? []) {
        if (visited.has(node) || node.opType === 'Shape') continue
        visited.add(node)
        if (isStandardDomain(node) && through.test(node.opType ?? '')) for (const each of node.output) visit(each)
        else ends.add(node)
      }
    }
    visit(name)
    return ends
  }
  const isSoftmax = ({ opType, attribute }: NodeProto) =>
    opType === 'Softmax' && attribute.every(({ name, i = -1n }) => name !== 'axis' || i === -1n || i === 3n)
  /** Whether nodes are products of which each leads to a Softmax, and to nothing else. */
  const softmaxesOf = (products: ReadonlySet<NodeProto>): NodeProto[] | undefined => {
    const ends = [...products].flatMap((node) =>
      node.opType === 'MatMul' ? [...follow(node.output[0]!, scoring)] : [node],
    )
    return ends.length > 0 && ends.every(isSoftmax) ? ends : undefined
  }
  const nodes = new Set(graph.node.filter((node) => isGrouped(node) || isStandard(node)))
  const states = new Set([...nodes].flatMap(({ output }) => output.slice(1)))
  const softmaxes = new Set<NodeProto>()
  /** Products of keys or values, by the state that they read. */
  const products = new Map<string, ReadonlySet<NodeProto>>()
  for (const { name = '' } of graph.output) {
    if (!presentName.test(name)) continue
    let source = name
    for (let node = producers.get(source); node && /^(Cast|Identity)$/.test(node.opType ?? ''); ) {
      source = node.input[0]!
      node = producers.get(source)
    }
    if (states.has(source)) states.add(name)
    else products.set(name, follow(source, rearranging))
  }
  for (const [name, each] of products) {
    if (each.size > 0 && [...each].every(isStandard)) states.add(name)
    const found = softmaxesOf(each)
    if (!found) continue
    states.add(name)
    for (const node of found) softmaxes.add(node)
  }
  const weights = new Set(
    [...softmaxes].flatMap(({ output }) => [...follow(output[0]!, /^(Cast|Identity|Dropout|IsNaN|Where)$/)]),
  )
  for (const [name, each] of products)
    if (each.size > 0 && [...each].every((node) => node.opType === 'MatMul' && weights.has(node))) states.add(name)
  return { nodes: [...nodes, ...softmaxes], states }
}

const isGrouped = ({ opType, domain }: NodeProto): boolean =>
  opType === 'GroupQueryAttention' && domain === 'com.microsoft'

/** Whether a node is Attention of ai.onnx (operator set 23 and later). */
const isStandard = (node: NodeProto): boolean => node.opType === 'Attention' && isStandardDomain(node)

const comparing = /^(And|Or|Not|Xor|Equal|Less|LessOrEqual|Greater|GreaterOrEqual|IsNaN|IsInf)$/
/** Operators whose result has the type of their first input. */
const preserving =
  /^(Identity|Reshape|Unsqueeze|Squeeze|Flatten|Transpose|Expand|Tile|Slice|Concat|Gather|GatherND|Pad|Trilu|Add|Sub|Mul|Div|Min|Max|Neg)$/

/** Creates a function that finds the type of a value, from declarations, stored tensors and operators. */
function createTypeFinder(graph: GraphProto): (name: string) => DType | undefined {
  const declared = [...graph.input, ...graph.valueInfo].map(
    ({ name, type }) => [name, type?.tensorType?.elemType] as const,
  )
  const types = new Map([...declared, ...graph.initializer.map(({ name, dataType }) => [name, dataType] as const)])
  const producers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)))
  const find = (name: string): DType | undefined => {
    const known = dtypeOf(types.get(name) ?? 0)
    const node = producers.get(name)
    if (known || !node || !isStandardDomain(node)) return known
    const { opType = '', input, attribute } = node
    const given = (key: string) => attribute.find((each) => each.name === key)
    if (comparing.test(opType)) return 'bool'
    if (opType === 'Cast') return dtypeOf(Number(given('to')?.i ?? 0n))
    if (opType === 'CastLike' || opType === 'Where') return find(input[1] ?? '')
    if (opType === 'Constant') return dtypeOf(given('value')?.t?.dataType ?? 0)
    if (opType === 'ConstantOfShape') return dtypeOf(given('value')?.t?.dataType ?? 0) ?? 'float32'
    return preserving.test(opType) ? find(input[0] ?? '') : undefined
  }
  return find
}

/** Whether queries and keys are rotated in the node. */
const hasRotary = ({ attribute }: NodeProto): boolean =>
  attribute.some(({ name, i = 0n }) => name === 'do_rotary' && i !== 0n)

const prefix = 'onnx-ire/pack'

/** Added to the scores of tokens of other examples: in float16 too, e to this power is 0. */
const hidden = -30000
/**
 * Scores of tokens that a bool mask hides. Padding attends to no token of its own example, so it attends to those of
 * others, which have larger scores, instead of none, for which Softmax has no result.
 */
const masked = 2 * hidden

/** Creates a node that is named after its output. */
export const createNode = (
  opType: string,
  input: readonly string[],
  output: string,
  attribute: NodeProto['attribute'] = [],
): NodeProto => create('NodeProto', { opType, name: output, input, output: [output], attribute })

/**
 * Adds the input `segments`, which takes the place of attention_mask, and renames input_ids: attention adds 0 to scores
 * within a segment and `hidden` to others, and rotates by the input position_ids.
 */
export function withSegments(graph: GraphProto, places: SegmentPlaces): GraphProto {
  const tokens = graph.input.find(({ name }) => name === 'input_ids')!
  const mask = graph.input.find(({ name }) => name === 'attention_mask')
  const has = (name: string) => graph.input.some((info) => info.name === name)
  const blocks = [
    createNode('Identity', [packedTokensName], 'input_ids'),
    createNode('Unsqueeze', [segmentsName, `${prefix}/of-queries`], `${prefix}/queries`),
    createNode('Unsqueeze', [segmentsName, `${prefix}/of-keys`], `${prefix}/keys`),
    createNode('Equal', [`${prefix}/queries`, `${prefix}/keys`], `${prefix}/same`),
    createNode('Where', [`${prefix}/same`, `${prefix}/seen`, `${prefix}/hidden`], `${prefix}/bias`),
  ]
  const maskNodes = mask && [
    createNode('Min', [segmentsName, `${prefix}/one`], `${prefix}/tokens`),
    createNode('Cast', [`${prefix}/tokens`], 'attention_mask', [intAttribute('to', mask.type!.tensorType!.elemType!)]),
  ]
  const outputs = new Set(places.attention)
  const positions = new Set(places.positions)
  const typeOf = createTypeFinder(graph)
  const hasBoolMask = (node: NodeProto) => isStandard(node) && typeOf(node.input[maskAt] ?? '') === 'bool'
  const attending = graph.node.filter(({ output: [name = ''] }) => outputs.has(name))
  const changed = graph.node.flatMap((node, i) => {
    const [name = ''] = node.output
    if (positions.has(name)) return [edit(node, { input: node.input.with(0, 'position_ids') })]
    if (!outputs.has(name)) return [node]
    return hasBoolMask(node) ? withBoolMask(node, i) : withBias(node, i)
  })
  const ints = (name: string, ...values: bigint[]) =>
    toTensorProto(`${prefix}/${name}`, tensor('int64', [values.length], BigInt64Array.from(values)))
  const float = (name: string, value: number) =>
    toTensorProto(`${prefix}/${name}`, tensor('float32', [], Float32Array.of(value)))
  return edit(graph, {
    input: [
      ...graph.input.filter((info) => info !== mask && info !== tokens),
      edit(tokens, { name: packedTokensName }),
      edit(tokens, { name: segmentsName }),
      ...(has('position_ids') ? [] : [edit(tokens, { name: 'position_ids' })]),
    ],
    initializer: [
      ...graph.initializer,
      ...[ints('of-queries', 1n, 3n), ints('of-keys', 1n, 2n), float('seen', 0), float('hidden', hidden)],
      ...(mask ? [ints('one', 1n)] : []),
      ...(attending.some(hasBoolMask) ? [float('masked', masked)] : []),
    ],
    node: [...blocks, ...(maskNodes ?? []), ...changed],
  })
}

/** Adds the bias of segments to the scores of a node: to its mask or bias if it has one, or to the input of Softmax. */
function withBias(node: NodeProto, i: number): readonly NodeProto[] {
  const [kind, at] = isStandard(node) ? ['mask', maskAt] : isGrouped(node) ? ['sum', biasAt] : ['scores', 0]
  const own = node.input[at]
  const bias = `${prefix}/bias/${i}`
  const sum = `${prefix}/${kind}/${i}`
  const input = isGrouped(node) && hasRotary(node) ? withInput(node.input, positionsAt, 'position_ids') : node.input
  return [
    ...(own
      ? [createNode('CastLike', [`${prefix}/bias`, own], bias), createNode('Add', [own, bias], sum)]
      : [createNode('CastLike', [`${prefix}/bias`, node.input[0]!], sum)]),
    edit(node, { input: withInput(input, at, sum) }),
  ]
}

/** Replaces the bool mask of Attention by the bias of segments where it is true, and by `masked` elsewhere. */
function withBoolMask(node: NodeProto, i: number): readonly NodeProto[] {
  const [query = ''] = node.input
  const bias = `${prefix}/bias/${i}`
  const never = `${prefix}/never/${i}`
  const mask = `${prefix}/mask/${i}`
  return [
    createNode('CastLike', [`${prefix}/bias`, query], bias),
    createNode('CastLike', [`${prefix}/masked`, query], never),
    createNode('Where', [node.input[maskAt]!, bias, never], mask),
    edit(node, { input: withInput(node.input, maskAt, mask) }),
  ]
}

/** Sets an input of a node; inputs before it that are missing become empty. */
const withInput = (input: readonly string[], at: number, name: string): string[] =>
  Array.from({ length: Math.max(input.length, at + 1) }, (_, i) => (i === at ? name : (input[i] ?? '')))
