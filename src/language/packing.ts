import type { DType } from '../ir/dtype.js'
import { tensor } from '../ir/tensor.js'
import { createInput } from '../onnx/import/declarations.js'
import { create, edit } from '../onnx/proto/message.js'
import { attributeTypes, type GraphProto, type NodeProto } from '../onnx/proto/schema.js'
import { toTensorProto } from '../onnx/proto/tensor.js'
import { OnnxIreError } from '../util/errors.js'

/**
 * How a model keeps packed examples apart: by an input attention_mask [batch, 1, length, length], which the data fill
 * with blocks; or by an input `segments`, from which `trainingModel` with `pack` computes them. Then the tokens are
 * the input `packed_input_ids`, so that a model without `pack` rejects the data.
 */
export type Packing = { readonly kind: 'mask'; readonly dtype: DType } | { readonly kind: 'segments' }

/** Name of the numbers of the packed examples: int64 [batch, length], from 1; 0 for padding. */
export const segmentsName = 'segments'
/** Name of the tokens beside `segments`. */
export const packedTokensName = 'packed_input_ids'

/** Names of states that a decoder reads and returns: keys and values, and those of hybrid models. */
export const pastName = /^past/

/** Positions of inputs of GroupQueryAttention. */
const [positionsAt, biasAt] = [9, 10]

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
  const pasts = [...inputs.keys()].filter((name) => pastName.test(name))
  const attention = graph.node.filter(isGrouped)
  const isRead = (past: string) => {
    const casts = graph.node.filter(({ opType, input }) => opType === 'Cast' && input[0] === past)
    const names = [past, ...casts.map(({ output }) => output[0])]
    return attention.some(({ input }) => input.slice(3, 5).some((name) => names.includes(name)))
  }
  const other = pasts.find((past) => !isRead(past))
  if (pasts.length === 0 || other !== undefined)
    return refuse(
      `the input attention_mask of the model is ${mask ? `[${mask.shape?.join(', ') ?? '?'}]` : 'missing'} and not [batch, 1, length, length], and ${other === undefined ? 'it has no state of keys and values' : `'${other}' is not read by GroupQueryAttention`}, so packed examples would see each other`,
    )
  if (attention.some(({ input }) => input[biasAt])) return refuse('its attention has a bias')
  if (!hasPositions && !attention.every(hasRotary))
    return refuse('the model has no input position_ids, so packed examples would not begin at position 0')
  return { kind: 'segments' }
}

const isGrouped = ({ opType, domain }: NodeProto): boolean =>
  opType === 'GroupQueryAttention' && domain === 'com.microsoft'

/** Whether queries and keys are rotated in the node. */
const hasRotary = ({ attribute }: NodeProto): boolean =>
  attribute.some(({ name, i = 0n }) => name === 'do_rotary' && i !== 0n)

const prefix = 'onnx-ire/pack'

/** Added to the scores of tokens of other examples: in float16 too, e to this power is 0. */
const hidden = -30000

/**
 * Adds the input `segments`, which takes the place of attention_mask, and renames input_ids: attention adds 0 to scores within a segment and
 * `hidden` to others, and rotates by the input position_ids.
 */
export function withSegments(graph: GraphProto): GraphProto {
  const tokens = graph.input.find(({ name }) => name === 'input_ids')!
  const mask = graph.input.find(({ name }) => name === 'attention_mask')
  const has = (name: string) => graph.input.some((info) => info.name === name)
  const node = (opType: string, input: string[], output: string, attribute: NodeProto['attribute'] = []) =>
    create('NodeProto', { opType, name: output, input, output: [output], attribute })
  const blocks = [
    node('Identity', [packedTokensName], 'input_ids'),
    node('Unsqueeze', [segmentsName, `${prefix}/of-queries`], `${prefix}/queries`),
    node('Unsqueeze', [segmentsName, `${prefix}/of-keys`], `${prefix}/keys`),
    node('Equal', [`${prefix}/queries`, `${prefix}/keys`], `${prefix}/same`),
    node('Where', [`${prefix}/same`, `${prefix}/seen`, `${prefix}/hidden`], `${prefix}/bias`),
  ]
  const maskNodes = mask && [
    node('Min', [segmentsName, `${prefix}/one`], `${prefix}/tokens`),
    node('Cast', [`${prefix}/tokens`], 'attention_mask', [
      create('AttributeProto', { name: 'to', type: attributeTypes.int, i: BigInt(mask.type!.tensorType!.elemType!) }),
    ]),
  ]
  const attention = graph.node.flatMap((each, i) => {
    if (!isGrouped(each)) return [each]
    const bias = `${prefix}/bias/${i}`
    const input = Array.from({ length: Math.max(each.input.length, biasAt + 1) }, (_, at) =>
      at === biasAt ? bias : at === positionsAt && hasRotary(each) ? 'position_ids' : (each.input[at] ?? ''),
    )
    return [node('CastLike', [`${prefix}/bias`, each.input[0]!], bias), edit(each, { input })]
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
    ],
    node: [...blocks, ...(maskNodes ?? []), ...attention],
  })
}
