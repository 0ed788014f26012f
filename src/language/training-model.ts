import { dtypeOf, dtypes } from '../ir/dtype.js'
import { type Tensor, tensor } from '../ir/tensor.js'
import type { Model } from '../onnx/model.js'
import { intAttribute } from '../onnx/proto/attribute.js'
import { create, edit } from '../onnx/proto/message.js'
import { attributeTypes, type GraphProto, type NodeProto, type ValueInfoProto } from '../onnx/proto/schema.js'
import { toTensorProto } from '../onnx/proto/tensor.js'
import { checkBoolean, checkNames } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { createNode, findPacking, pastName, presentName, withSegments } from './packing.js'

/** Options of `trainingModel`. */
export interface TrainingModelOptions {
  /**
   * 'fed' keeps the input position_ids; 'mask' computes it in the graph from attention_mask: the number of tokens
   * before each. Default 'fed'.
   */
  readonly positionIds?: 'fed' | 'mask' | undefined
  /**
   * Whether an example is a pair of texts, as in `preferenceData`: the inputs are `pair_input_ids`,
   * `pair_attention_mask` and `pair_position_ids`, [pairs, 2, length], and the logits have two rows per pair. Default
   * false.
   */
  readonly pairs?: boolean | undefined
  /**
   * Whether rows have several examples, as in `chatData` with `pack`, without attention between them. If attention_mask
   * is [batch, 1, length, length], it has the blocks; otherwise the inputs are `packed_input_ids`, `segments` and
   * position_ids, and attention must be GroupQueryAttention, Attention (operator set 23 and later), or a Softmax
   * between two products. Default false.
   */
  readonly pack?: boolean | undefined
}

const cacheFlag = 'use_cache_branch'

/**
 * Creates the form of an exported decoder that is trained: from input_ids, attention_mask and position_ids (if the
 * model has them) to the logits of all positions. Keys and values of the past become tensors of length 0 and
 * `present.*` is no output; num_logits_to_keep is 0; a merged decoder is reduced to its branch without a cache.
 * Weights and names are unchanged, so that an adapter that is trained here fits the model of the file.
 * @throws OnnxIreError `invalid-model` if the model has no input_ids or no output of logits; `invalid-option` with the
 *   reason if its attention cannot keep packed examples apart
 * @example
 * ```ts
 * const trainer = await Trainer.create(lora(trainingModel(chat.model), { r: 16 }), { loss: nextToken(), optimizer, runtime })
 * ```
 */
export function trainingModel(model: Model, options: TrainingModelOptions = {}): Model {
  checkNames('trainingModel', options, ['positionIds', 'pairs', 'pack'])
  const { positionIds = 'fed', pairs = false, pack = false } = options
  checkBoolean('trainingModel', 'pairs', pairs)
  checkBoolean('trainingModel', 'pack', pack)
  if (pack && (pairs || positionIds === 'mask'))
    throw new OnnxIreError(
      'invalid-option',
      `trainingModel: option 'pack' is true; then ${pairs ? 'pairs must be false' : "positionIds must be 'fed'"}`,
    )
  const inlined = inlineCacheBranch(model.proto.graph!)
  const fed = new Set(inlined.initializer.map(({ name }) => name))
  const inputs = inlined.input.filter(({ name = '' }) => !fed.has(name))
  if (!inputs.some(({ name }) => name === 'input_ids'))
    throw new OnnxIreError(
      'invalid-model',
      `the model has no input 'input_ids' but ${inputs.map(({ name }) => `'${name}'`).join(', ')}: take the decoder of a language model`,
    )
  const packing = pack ? findPacking('trainingModel', inlined) : undefined
  const pasts = inputs.filter(({ name = '' }) => pastName.test(name))
  const fixed = new Map<string, Tensor>([
    ['num_logits_to_keep', tensor('int64', [], BigInt64Array.of(0n))],
    [cacheFlag, tensor('bool', [1], new Uint8Array(1))],
  ])
  const replaced = new Set(pasts.map(({ name = '' }) => name))
  const constants = inputs.filter(({ name = '' }) => fixed.has(name)).map(({ name = '' }) => name)
  const fromMask = positionIds === 'mask' && inputs.some(({ name }) => name === 'position_ids')
  const added = [...(pasts.length > 0 ? emptyPasts(pasts) : []), ...(fromMask ? [...positionsFromMask()] : [])]
  const dropped = new Set([...replaced, ...constants, ...(fromMask ? ['position_ids'] : [])])
  const graph = edit(inlined, {
    input: inlined.input.filter(({ name = '' }) => !dropped.has(name)),
    output: [findLogits(inlined)],
    initializer: [
      ...inlined.initializer,
      ...constants.map((name) => toTensorProto(name, fixed.get(name)!)),
      ...(pasts.length > 0 || fromMask ? helperTensors(pasts, fromMask) : []),
    ],
    node: [...added, ...inlined.node.map((node) => withoutPast(node, replaced))],
  })
  const formed = pairs ? withPairs(graph, fed) : packing?.kind === 'segments' ? withSegments(graph, packing) : graph
  return { ...model, proto: edit(model.proto, { graph: formed }) }
}

/** Prefix of the inputs of a model of pairs. */
export const pairPrefix = 'pair_'

/** Makes inputs [pairs, 2, length] of inputs [rows, length]. */
function withPairs(graph: GraphProto, fed: ReadonlySet<string | undefined>): GraphProto {
  const inputs = graph.input.filter(({ name }) => !fed.has(name))
  const dims = [{ dimParam: 'pairs' }, { dimValue: 2n }, { dimParam: 'length' }]
  const shape = create('TensorShapeProto', { dim: dims.map((dim) => create('Dimension', dim)) })
  const pairs = inputs.map((info) => {
    const tensorType = info.type?.tensorType
    const axes = tensorType?.shape?.dim.length
    if (axes !== 2)
      throw new OnnxIreError(
        'invalid-model',
        `the input '${info.name}' of the model has ${axes ?? 'unknown'} axes; pairs of texts need inputs [batch, length]`,
      )
    return edit(info, {
      name: pairPrefix + info.name,
      type: edit(info.type!, { tensorType: edit(tensorType!, { shape }) }),
    })
  })
  const axis = intAttribute('axis', 2)
  const rows = inputs.map(({ name = '' }) =>
    create('NodeProto', {
      opType: 'Flatten',
      name: `onnx-ire/pairs/${name}`,
      input: [pairPrefix + name],
      output: [name],
      attribute: [axis],
    }),
  )
  return edit(graph, {
    input: [...graph.input.filter(({ name }) => fed.has(name)), ...pairs],
    node: [...rows, ...graph.node],
  })
}

function findLogits(graph: GraphProto): ValueInfoProto {
  const own = graph.output.filter(({ name = '' }) => !presentName.test(name))
  const logits = own.find(({ name }) => name === 'logits') ?? (own.length === 1 ? own[0] : undefined)
  if (logits) return logits
  throw new OnnxIreError(
    'invalid-model',
    `the model has no output 'logits' but ${graph.output.map(({ name }) => `'${name}'`).join(', ')}: take the decoder of a language model`,
  )
}

/** Puts the branch without a cache of a merged decoder in place of its If. */
export function inlineCacheBranch(graph: GraphProto): GraphProto {
  const at = graph.node.findIndex(({ opType, input }) => opType === 'If' && input[0] === cacheFlag)
  if (at < 0) return graph
  const choice = graph.node[at]!
  const branch = choice.attribute.find(({ name }) => name === 'else_branch')?.g
  if (!branch) throw new OnnxIreError('invalid-model', `the If '${choice.name ?? ''}' has no else_branch`)
  // Bodies in the branch may read its results by name, so the results are copied and not renamed.
  const copies = choice.output.flatMap((name, i) => {
    const from = branch.output[i]?.name
    return name && from && name !== from ? [identity(from, name)] : []
  })
  return edit(graph, {
    node: [...graph.node.slice(0, at), ...branch.node, ...copies, ...graph.node.slice(at + 1)],
    initializer: [...graph.initializer, ...branch.initializer],
  })
}

const identity = (from: string, to: string): NodeProto =>
  create('NodeProto', { opType: 'Identity', name: `${to}/copy`, input: [from], output: [to] })

const prefix = 'onnx-ire/past'

/** Creates the states of an empty past: zeros [batch, ...] whose other unknown lengths are 0. */
function emptyPasts(pasts: readonly ValueInfoProto[]): NodeProto[] {
  return [
    createNode('Shape', ['input_ids'], `${prefix}/shape`),
    createNode('Gather', [`${prefix}/shape`, `${prefix}/first`], `${prefix}/batch`),
    ...pasts.flatMap((past) => {
      const name = past.name!
      const dtype = dtypeOf(past.type?.tensorType?.elemType ?? 0) ?? 'float32'
      const value = toTensorProto('', tensor(dtype, [1], new dtypes[dtype].array!(1)))
      return [
        createNode('Concat', [`${prefix}/batch`, `${prefix}/${name}/rest`], `${prefix}/${name}/shape`, [
          intAttribute('axis', 0),
        ]),
        createNode('ConstantOfShape', [`${prefix}/${name}/shape`], name, [
          create('AttributeProto', { name: 'value', type: attributeTypes.tensor, t: value }),
        ]),
      ]
    }),
  ]
}

/** position_ids = max(cumsum(mask) - 1, 0) */
function positionsFromMask(): NodeProto[] {
  return [
    createNode('CumSum', ['attention_mask', `${prefix}/axis`], `${prefix}/count`),
    createNode('Sub', [`${prefix}/count`, `${prefix}/one`], `${prefix}/index`),
    createNode('Max', [`${prefix}/index`, `${prefix}/zero`], 'position_ids'),
  ]
}

function helperTensors(pasts: readonly ValueInfoProto[], fromMask: boolean) {
  const numbers = (name: string, dims: number[], values: number[]) =>
    toTensorProto(name, tensor('int64', dims, BigInt64Array.from(values, BigInt)))
  return [
    ...(pasts.length > 0 ? [numbers(`${prefix}/first`, [1], [0])] : []),
    ...pasts.map((past) => {
      const rest = (past.type?.tensorType?.shape?.dim ?? []).slice(1).map(({ dimValue }) => Number(dimValue ?? 0n))
      return numbers(`${prefix}/${past.name}/rest`, [rest.length], rest)
    }),
    ...(fromMask
      ? [numbers(`${prefix}/axis`, [], [1]), numbers(`${prefix}/one`, [], [1]), numbers(`${prefix}/zero`, [], [0])]
      : []),
  ]
}

/** Fused attention takes no past instead of an empty one. */
function withoutPast(node: NodeProto, pasts: ReadonlySet<string>): NodeProto {
  const fused = node.domain === 'com.microsoft' && /Attention$/.test(node.opType ?? '')
  if (!fused || !node.input.some((name) => pasts.has(name))) return node
  return edit(node, { input: node.input.map((name) => (pasts.has(name) ? '' : name)) })
}
