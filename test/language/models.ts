import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { dequantizeBlocks } from '../../src/adapter/blocks.js'
import { attributesOf } from '../../src/adapter/weight-source.js'
import { input, modelOf, op, parameter, scalar, type Value } from '../../src/graph/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { sizeOf } from '../../src/ir/tensor.js'
import { createInput } from '../../src/onnx/import/declarations.js'
import { type Model, namedTensors } from '../../src/onnx/model.js'
import { create, edit } from '../../src/onnx/proto/message.js'
import { attributeTypes, type NodeProto } from '../../src/onnx/proto/schema.js'
import { toTensorProto } from '../../src/onnx/proto/tensor.js'
import { Random } from '../../src/util/random.js'
import { languageModels } from '../requirements.js'

/** Folders that are committed, with one file of weights each. */
export const golden = fileURLToPath(new URL('golden', import.meta.url))

/** A prompt with the results of PyTorch. */
export interface Reference {
  readonly messages: readonly { readonly role: string; readonly content: string }[]
  /** The prompt after the chat template, with the start of the answer. */
  readonly text: string
  readonly ids: readonly number[]
  /** Mean cross-entropy of the prompt's tokens after the first. */
  readonly loss: number
  /** Logits of the last position. */
  readonly logits: readonly number[]
  /** Greedy continuation by transformers' generate. */
  readonly generated: readonly number[]
}

export const readReference = (folder: string): readonly Reference[] =>
  JSON.parse(readFileSync(join(folder, 'reference.json'), 'utf8'))

/** An exported model: its folder and the type of its weights. */
export interface Exported {
  readonly name: string
  readonly folder: string
  readonly dtype: 'fp32' | 'fp16' | 'q4' | 'q4f16'
}

function listExported(root: string): Exported[] {
  if (!existsSync(root)) return []
  return readdirSync(root)
    .toSorted()
    .flatMap((name) =>
      (['fp32', 'fp16', 'q4', 'q4f16'] as const).flatMap((dtype): Exported[] => {
        const suffix = dtype === 'fp32' ? '' : `_${dtype}`
        const folder = join(root, name)
        return existsSync(join(folder, `onnx/model${suffix}.onnx`)) ? [{ name: `${name} ${dtype}`, folder, dtype }] : []
      }),
    )
}

export const committed = listExported(golden)
/** Models that tools/language/export.py has written on this machine. */
export const exported = listExported(languageModels)

/** Replaces every MatMulNBits by MatMul with the same weight in float16. */
export function toFloatWeights(model: Model): Model {
  const graph = model.proto.graph!
  const tensors = namedTensors(model)
  const weights = graph.node.flatMap((each) => {
    if (each.opType !== 'MatMulNBits') return []
    const { N: n, K: k, bits = 4, block_size: blockSize } = attributesOf(each) as Record<string, number>
    const [q, scales] = each.input.slice(1, 3).map((name) => tensors.get(name)!)
    const rows = dequantizeBlocks({ q: q!, scales: scales! }, { n: n!, k: k!, bits, blockSize: blockSize! })
    const columns = Float64Array.from(rows, (_, i) => rows[(i % n!) * k! + Math.floor(i / n!)]!)
    return [toTensorProto(`${each.output[0]}/weight`, tensorFrom('float16', [k!, n!], columns))]
  })
  const node = graph.node.map((each) => {
    if (each.opType !== 'MatMulNBits') return each
    const input = [each.input[0]!, `${each.output[0]}/weight`]
    return create('NodeProto', { opType: 'MatMul', name: each.name, input, output: each.output })
  })
  const initializer = [...graph.initializer, ...weights]
  return { ...model, proto: edit(model.proto, { graph: edit(graph, { node, initializer }) }) }
}

/**
 * Merges a decoder with itself as optimum once did: the nodes are in both branches of an If that use_cache_branch
 * chooses, under the same names; the else branch has an empty past. The weights remain in the main graph.
 */
export function mergeDecoder(model: Model): Model {
  const graph = model.proto.graph!
  const pasts = graph.input.filter(({ name }) => name!.startsWith('past'))
  const dims = [...pasts[0]!.type!.tensorType!.shape!.dim]
  const rest = BigInt64Array.from(dims.slice(1), ({ dimValue }) => dimValue ?? 0n)
  const zero = tensorFrom(createInput(pasts[0]!).dtype, [1], [0])
  const tensors = [
    toTensorProto('empty/first', { dtype: 'int64', dims: [1], data: BigInt64Array.of(0n) }),
    toTensorProto('empty/rest', { dtype: 'int64', dims: [rest.length], data: rest }),
  ]
  const node = (opType: string, input: string[], output: string, attribute: NodeProto['attribute'] = []) =>
    create('NodeProto', { opType, name: output, input, output: [output], attribute })
  const axis = create('AttributeProto', { name: 'axis', type: attributeTypes.int, i: 0n })
  const value = create('AttributeProto', { name: 'value', type: attributeTypes.tensor, t: toTensorProto('', zero) })
  const empty = [
    node('Shape', ['input_ids'], 'empty/shape'),
    node('Gather', ['empty/shape', 'empty/first'], 'empty/batch'),
    node('Concat', ['empty/batch', 'empty/rest'], 'empty/dims', [axis]),
    ...pasts.map(({ name }) => node('ConstantOfShape', ['empty/dims'], `empty/${name}`, [value])),
  ]
  const isPast = new Set(pasts.map(({ name }) => name))
  const sorted = sortNodes(graph.node)
  const first = sorted.map((each) =>
    edit(each, { input: each.input.map((name) => (isPast.has(name) ? `empty/${name}` : name)) }),
  )
  const branch = (name: string, nodes: readonly NodeProto[]) =>
    create('AttributeProto', {
      name,
      type: attributeTypes.graph,
      g: create('GraphProto', { name, node: [...nodes], output: graph.output }),
    })
  const choice = create('NodeProto', {
    opType: 'If',
    name: 'optimum::if',
    input: ['use_cache_branch'],
    output: graph.output.map(({ name }) => name!),
    attribute: [branch('then_branch', sorted), branch('else_branch', [...empty, ...first])],
  })
  const flag = create('ValueInfoProto', {
    name: 'use_cache_branch',
    type: create('TypeProto', {
      tensorType: create('TensorType', {
        elemType: 9,
        shape: create('TensorShapeProto', { dim: [create('Dimension', { dimValue: 1n })] }),
      }),
    }),
  })
  const merged = edit(graph, {
    node: [choice],
    input: [...graph.input, flag],
    initializer: [...graph.initializer, ...tensors],
    valueInfo: [],
  })
  return { ...model, proto: edit(model.proto, { graph: merged }) }
}

/**
 * A decoder of one layer with the operator Attention of ai.onnx. 'causal' has a cache; 'bool' and 'float' hide tokens
 * by a mask of that type, and return keys and values without reading those of the past.
 */
export function attentionDecoder(form: 'causal' | 'bool' | 'float', words = 320): Model {
  const random = new Random(4).stream('decoder')
  const weights = (name: string, ...dims: readonly number[]) =>
    parameter(
      name,
      tensorFrom(
        'float32',
        dims,
        random.fill(new Float64Array(sizeOf(dims)), 'normal').map((x) => x / 3),
      ),
    )
  const [ids, mask, positions] = ['input_ids', 'attention_mask', 'position_ids'].map((name) =>
    input(name, 'int64', ['batch', 'length']),
  ) as [Value, Value, Value]
  const pasts = ['key', 'value'].map((name) =>
    input(`past_key_values.0.${name}`, 'float32', ['batch', 2, 'past', 8]),
  ) as [Value, Value]
  const hidden = op.Add(op.Gather(weights('embed', words, 16), ids), op.Gather(weights('places', 512, 16), positions))
  const project = (name: string) =>
    op.Transpose(op.Reshape(op.MatMul(hidden, weights(name, 16, 16)), [0, 0, 2, 8]), { perm: [0, 2, 1, 3] })
  const [query, key, value] = ['q_proj', 'k_proj', 'v_proj'].map(project) as [Value, Value, Value]
  const seen = op.And(
    op.Unsqueeze(op.Cast(mask, { to: 9 }), [1, 2]),
    op.LessOrEqual(op.Unsqueeze(positions, [1, 2]), op.Unsqueeze(positions, [1, 3])),
  )
  const [sum, presentKey, presentValue] =
    form === 'causal'
      ? op.Attention(query, key, value, null, ...pasts, { is_causal: 1 })
      : op.Attention(
          query,
          key,
          value,
          form === 'bool' ? seen : op.Where(seen, scalar('float32', 0), scalar('float32', -1e9)),
        )
  const heads = op.Reshape(op.Transpose(sum, { perm: [0, 2, 1, 3] }), [0, 0, 16])
  const state = op.Add(hidden, op.MatMul(heads, weights('o_proj', 16, 16)))
  const [keys, values] = form === 'causal' ? [presentKey, presentValue] : [key, value]
  return modelOf({
    name: 'decoder',
    inputs: new Map([
      ['input_ids', ids],
      ...(form === 'causal' ? [] : [['attention_mask', mask] as const]),
      ['position_ids', positions],
      ...(form === 'causal' ? pasts.map((past) => [past.name!, past] as const) : []),
    ]),
    outputs: new Map([
      ['logits', op.MatMul(state, weights('lm_head', 16, words))],
      ['present.0.key', keys!],
      ['present.0.value', values!],
    ]),
  })
}

/** Sorts nodes topologically, which onnxruntime requires in branches only. */
function sortNodes(nodes: readonly NodeProto[]): NodeProto[] {
  const producers = new Map(nodes.flatMap((node) => node.output.map((name) => [name, node] as const)))
  const sorted = new Set<NodeProto>()
  const visit = (node: NodeProto): void => {
    for (const name of node.input) {
      const producer = producers.get(name)
      if (producer && !sorted.has(producer)) visit(producer)
    }
    sorted.add(node)
  }
  for (const node of nodes) visit(node)
  return [...sorted]
}
