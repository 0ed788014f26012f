import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { adapterOf, lora } from '../../src/adapter/index.js'
import { batches, Random } from '../../src/data/index.js'
import { decodeModel, type Model, sgd, type Tensor, Trainer } from '../../src/index.js'
import { numbersOf } from '../../src/ir/leaf.js'
import { blockMask, orderByLength, packExamples } from '../../src/language/chat-data.js'
import {
  type ChatMessage,
  chatData,
  encodeChat,
  type LanguageModel,
  nextToken,
  parseChatRow,
  readLanguageModel,
  trainingModel,
} from '../../src/language/index.js'
import { modelFolder, node as onnxruntime } from '../../src/node/index.js'
import { create, edit } from '../../src/onnx/proto/message.js'
import type { GraphProto, NodeProto } from '../../src/onnx/proto/schema.js'
import { info, modelBytes, node } from '../onnx/build.js'
import { needs } from '../requirements.js'
import { thrownMessage } from '../thrown.js'
import { attentionDecoder, committed, type Exported, exported, golden, mergeDecoder } from './models.js'

interface Rendered {
  readonly name: string
  readonly template: string
  readonly messages: readonly ChatMessage[]
  readonly text: string
  readonly ids: readonly number[]
  readonly mask?: readonly number[]
}
const rendered: readonly Rendered[] = JSON.parse(readFileSync(join(golden, 'chat.json'), 'utf8'))

const runtime = onnxruntime({ threads: 1 })
afterAll(() => runtime.dispose())

let chat: LanguageModel
beforeAll(async () => {
  chat = await readLanguageModel(modelFolder(join(golden, 'llama-optimum')))
})

const invalid = (action: () => unknown) => thrownMessage('invalid-data', action)
const user = (content: string) => ({ role: 'user', content })
const assistant = (content: string, more = {}) => ({ role: 'assistant', content, ...more })
const system = (content: string) => ({ role: 'system', content })

/** The counted tokens of a row as text, with | between runs of tokens. */
function countedText(row: unknown, more: Partial<LanguageModel> = {}): string {
  const { tokens, counted } = encodeChat(row, 1, { ...chat, ...more })
  const runs: number[][] = []
  for (const [i, token] of tokens.entries()) {
    if (!counted[i]) continue
    if (counted[i - 1]) runs.at(-1)!.push(token)
    else runs.push([token])
  }
  return runs.map((run) => chat.tokenizer.decode(run)).join('|')
}

describe('encodeChat > messages', () => {
  it.each(rendered)('$name > text and tokens of transformers', ({ template, messages, ids }) => {
    expect(encodeChat({ messages }, 1, { ...chat, chatTemplate: template }).tokens).toEqual(ids)
  })

  it.each(rendered.filter(({ mask }) => mask))(
    '$name > the answers of transformers',
    ({ template, messages, mask }) => {
      const { counted } = encodeChat({ messages }, 1, { ...chat, chatTemplate: template })
      expect(counted.map(Number)).toEqual(mask)
    },
  )

  it('a template without generation tags > the answers with the end of their turn, without the white space after it', () => {
    const messages = [user('Hello'), assistant('Hi there'), user('and?'), assistant('\n\nBye')]
    expect(countedText({ messages })).toBe('Hi there<|im_end|>|\n\nBye<|im_end|>')
  })

  it('weight 0 > the answer is not counted', () => {
    const messages = [user('a'), assistant('b', { weight: 0 }), user('c'), assistant('d', { weight: 1 })]
    expect(countedText({ messages })).toBe('d<|im_end|>')
  })

  it('generation tags without the end of the turn > the end is counted', () => {
    const template = rendered
      .find(({ name }) => name.startsWith('chatml with'))!
      .template.replace(
        "message.content + '<|im_end|>' }}\n        {%- endgeneration %}",
        "message.content }}\n        {%- endgeneration %}\n        {{- '<|im_end|>' }}",
      )
    expect(template).toContain("{{- '<|im_end|>' }}")
    expect(countedText({ messages: [user('a'), assistant('b')] }, { chatTemplate: template })).toBe('b<|im_end|>')
  })

  it('a template that rewrites earlier turns > invalid-data naming the message', () => {
    const template =
      "{% for m in messages %}{{ m.role + ':' + (m.content if loop.last else m.content | upper) + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    const messages = [user('a'), assistant('b'), user('c'), assistant('d')]
    expect(invalid(() => countedText({ messages }, { chatTemplate: template }))).toMatch(/row 1.*messages\[1\]/s)
  })

  it('without tools > they are none for the template, as in transformers', () => {
    const template =
      '{% if tools is not none %}{{ tools | length }} tools{% endif %}{% if documents is not none %}documents{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}'
    const textOf = (row: object) => {
      const { tokens } = encodeChat(row, 1, { ...chat, chatTemplate: template }, { loss: 'all' })
      return chat.tokenizer.decode(tokens)
    }
    expect(textOf({ messages: [user('a')] })).toBe('a')
    expect(textOf({ messages: [user('a')], tools: [{ name: 'f' }] })).toBe('1 toolsa')
  })

  it('a template that refuses the messages > invalid-data with its reason', () => {
    const template = "{{ raise_exception('roles must alternate') }}"
    expect(invalid(() => countedText({ messages: [user('a')] }, { chatTemplate: template }))).toContain('roles must')
  })

  it('no chat template > invalid-model', () => {
    const row = { messages: [user('a'), assistant('b')] }
    thrownMessage('invalid-model', () => countedText(row, { chatTemplate: null }))
    thrownMessage('invalid-model', () => countedText(row, { chatTemplate: '{% if %}' }))
  })
})

describe('encodeChat > other rows', () => {
  it('text > every token but the first, with the end of the text', () => {
    expect(countedText({ text: 'Hello' })).toBe('ello<|im_end|>')
  })

  it('prompt and completion > the completion', () => {
    expect(countedText({ prompt: 'What is the', completion: ' capital' })).toBe(' capital<|im_end|>')
    expect(countedText({ prompt: [user('Hello')], completion: [assistant('Hi')] })).toBe('Hi<|im_end|>')
    // Earlier answers belong to the prompt.
    expect(countedText({ prompt: [user('a'), assistant('b'), user('c')], completion: 'd' })).toBe('d<|im_end|>')
  })

  it('a text as prompt of messages > the tokenizer adds no token before those of the template', () => {
    const tokenizer: LanguageModel['tokenizer'] = Object.assign(Object.create(chat.tokenizer), {
      decode: (tokens: number[]) => chat.tokenizer.decode(tokens),
      encode: (text: string, { around = false } = {}) => [...(around ? [1] : []), ...chat.tokenizer.encode(text)],
    })
    const encode = (prompt: unknown) =>
      encodeChat({ prompt, completion: [assistant('Hi')] }, 1, { ...chat, tokenizer }).tokens
    expect(encode('Hello')).toEqual(encode([user('Hello')]))
  })

  it('a token over the border > text is encoded in two parts', () => {
    const word = chat.tokenizer.decode([290])
    expect(chat.tokenizer.encode(word)).toEqual([290])
    const [prompt, completion] = [word.slice(0, 1), word.slice(1)]
    const { tokens, counted } = encodeChat({ prompt, completion }, 1, chat)
    expect(tokens).toEqual([...chat.tokenizer.encode(prompt), ...chat.tokenizer.encode(completion), 2])
    expect(counted).toEqual(tokens.map((_, i) => i > 0))
  })

  it('ShareGPT and Alpaca > messages', () => {
    const conversations = [
      { from: 'system', value: 's' },
      { from: 'human', value: 'a' },
      { from: 'gpt', value: 'b' },
    ]
    expect(parseChatRow({ conversations }, 1)).toEqual({
      kind: 'messages',
      messages: [system('s'), user('a'), assistant('b')],
    })
    expect(parseChatRow({ instruction: 'Add', input: '1 2', output: '3' }, 1)).toEqual({
      kind: 'messages',
      messages: [user('Add\n\n1 2'), assistant('3')],
    })
  })

  it('preferences > the chosen answer; the prompt may be repeated or be the common start', () => {
    const expected = {
      kind: 'completion',
      prompt: [user('a')],
      completion: [assistant('b')],
      rejected: [assistant('c')],
    }
    const whole = { chosen: [user('a'), assistant('b')], rejected: [user('a'), assistant('c')] }
    expect(parseChatRow(whole, 1)).toEqual(expected)
    expect(parseChatRow({ prompt: [user('a')], ...whole }, 1)).toEqual(expected)
    // As in UltraFeedback: the prompt is the text of the first message.
    expect(parseChatRow({ prompt: 'a', ...whole }, 1)).toEqual(expected)
    const [chosen, rejected] = [whole.chosen, whole.rejected].map((turns) => [system('s'), ...turns])
    expect(parseChatRow({ prompt: 'a', chosen, rejected }, 1)).toMatchObject({ prompt: [system('s'), user('a')] })
    const answers = { chosen: [assistant('b')], rejected: [assistant('c')] }
    expect(parseChatRow({ prompt: 'a', ...answers }, 1)).toEqual({ ...expected, prompt: 'a' })
    expect(parseChatRow({ prompt: 'a', chosen: 'b', rejected: 'c' }, 1)).toMatchObject({ prompt: 'a', rejected: 'c' })
    const expectedOfText = { ...expected, prompt: [user('a')] }
    expect(parseChatRow({ prompt: 'a', chosen: 'b', rejected: [assistant('c')] }, 1)).toEqual(expectedOfText)
    expect(parseChatRow({ prompt: 'a', chosen: whole.chosen, rejected: 'c' }, 1)).toEqual(expectedOfText)
    expect(countedText(whole)).toBe('b<|im_end|>')
  })

  it.each([
    [7, /row 3/],
    [{}, /row 3/],
    [{ messages: [] }, /row 3: messages/],
    [{ messages: [{ role: 'bot', content: 'a' }] }, /row 3: messages\[0\]\.role/],
    [{ messages: [{ role: 'user', content: 5 }] }, /row 3: messages\[0\]\.content/],
    [{ messages: [{ role: 'user', content: [{ type: 'image' }] }] }, /row 3: messages\[0\]\.content\[0\]/],
    [{ messages: [{ role: 'assistant', content: 'a', weight: 2 }] }, /row 3: messages\[0\]\.weight/],
    [{ conversations: [{ from: 'alien', value: 'a' }] }, /row 3: conversations\[0\]\.from/],
    [{ conversations: [{ from: 'human' }] }, /row 3: conversations\[0\]\.value/],
    [{ instruction: 1, output: 'a' }, /row 3: instruction/],
    [{ text: null }, /row 3: text/],
    [{ prompt: 1, completion: 'a' }, /row 3: prompt must be text, or a list/],
    [{ chosen: 'a', rejected: 'b' }, /row 3/],
  ])('%j > invalid-data naming the field', (row, message) => {
    expect(invalid(() => parseChatRow(row, 3))).toMatch(message)
  })
})

const rows = Array.from({ length: 20 }, (_, i) => ({
  messages: [user('Hello'), assistant('very '.repeat(1 + ((i * 7) % 20)))],
}))

describe('chatData', () => {
  it('labels are the next counted tokens, and padding counts nothing', async () => {
    const data = chatData([rows[0]], chat)
    const { tokens, counted } = data.examplesOf[0]!
    const [example] = [...(data.examples(0) as Iterable<Record<string, Tensor>>)]
    const numbers = (name: string) => Array.from(example![name]!.data as BigInt64Array, Number)
    expect(numbers('input_ids')).toEqual(tokens)
    expect(numbers('position_ids')).toEqual([...tokens.keys()])
    expect(numbers('labels')).toEqual(tokens.map((_, i) => (counted[i + 1] ? tokens[i + 1] : -100)))
    const batch = await data.collate!([example!], [0])
    const length = Math.ceil(tokens.length / 16) * 16
    expect(batch['labels']!.dims).toEqual([1, length])
    expect(Array.from(batch['labels']!.data as BigInt64Array).slice(tokens.length)).toEqual(
      Array(length - tokens.length).fill(-100n),
    )
    expect(Array.from(batch['attention_mask']!.data as BigInt64Array).lastIndexOf(1n)).toBe(tokens.length - 1)
  })

  it('every epoch has every example once, in another order, the same for the same seed', () => {
    const tokensOf = (seed: number, epoch: number) =>
      [...(chatData(rows, chat, { seed, batchSize: 2 }).examples(epoch) as Iterable<Record<string, Tensor>>)].map(
        (each) => String(each['input_ids']!.data),
      )
    const [first, second] = [tokensOf(0, 0), tokensOf(0, 1)]
    expect(second.toSorted()).toEqual(first.toSorted())
    expect(second).not.toEqual(first)
    expect(tokensOf(0, 0)).toEqual(first)
    expect(tokensOf(1, 0)).not.toEqual(first)
  })

  it('the checksum > depends on what decides the order', () => {
    const options = [{}, { seed: 1 }, { batchSize: 2 }, { length: 512 }]
    expect(new Set(options.map((each) => chatData(rows, chat, each).checksum!())).size).toBe(4)
  })

  it('batches have examples of similar length', () => {
    const sizes = Array.from({ length: 103 }, (_, i) => (i * 37) % 101)
    const order = orderByLength(sizes, 10, new Random(0))
    expect(order.toSorted((a, b) => a - b)).toEqual([...sizes.keys()])
    for (let i = 0; i < 100; i += 10) {
      const some = order.slice(i, i + 10).map((at) => sizes[at]!)
      expect(Math.max(...some) - Math.min(...some)).toBeLessThan(12)
    }
  })

  it('cut examples are counted, those without a learned token are left out, and both are warned of', () => {
    const { report } = chatData([...rows, { messages: [user('long '.repeat(40)), assistant('b')] }], chat, {
      length: 64,
    })
    expect(report).toMatchObject({ examples: 20, leftOut: 1, preferences: 0 })
    expect(report.cut).toBeGreaterThan(1)
    expect(report.warnings).toHaveLength(2)
    expect(chatData(rows, chat).report).toMatchObject({ cut: 0, warnings: [] })
  })

  it('preferences > only the chosen answer is learned, which the report says', () => {
    const { report } = chatData([{ prompt: 'a', chosen: 'b', rejected: 'c' }], chat)
    expect(report).toMatchObject({ preferences: 1, warnings: [expect.stringContaining('rejected')] })
    const beside = { messages: [user('a'), assistant('b')], chosen: [assistant('b')], rejected: [assistant('c')] }
    expect(chatData([beside], chat).report).toMatchObject({ preferences: 1, warnings: { length: 1 } })
    expect(chatData([{ ...beside, rejected: null }], chat).report).toMatchObject({ preferences: 0, warnings: [] })
  })

  it('the context of the model > limits the default length; longer examples are refused', () => {
    const small = { ...chat, config: { max_position_embeddings: 64 } }
    const long = { messages: [user('long '.repeat(40)), assistant('b')] }
    expect(chatData([...rows, long], small).report).toMatchObject({ leftOut: 1 })
    const refuse = (length: number) =>
      thrownMessage('invalid-option', () => chatData([...rows, long], small, { length }))
    expect(refuse(65)).toMatch(/'length' is 65; .* 64, .*row 2 has 65/)
    expect(chatData([rows[0]], { ...small, config: { n_positions: 1000 } }, { length: 2000 }).report.cut).toBe(0)
  })

  it('packed rows in which LongRoPE has other angles > invalid-option', () => {
    const original_max_position_embeddings = 100
    const pack = (config: object, length: number) =>
      chatData(rows.slice(0, 4), { ...chat, config: { ...config } }, { pack: true, length }).report.rows
    for (const config of [
      { rope_scaling: { type: 'longrope', long_factor: [1] }, original_max_position_embeddings },
      { rope_parameters: { rope_type: 'longrope', original_max_position_embeddings } },
    ]) {
      expect(thrownMessage('invalid-option', () => pack(config, 300))).toMatch(/'length' is 300; .* 100, .*'longrope'/)
      expect(pack(config, 100)).toBeGreaterThan(1)
    }
    expect(pack({ rope_scaling: { rope_type: 'llama3', original_max_position_embeddings } }, 400)).toBe(1)
  })

  it('batches are padded to at most the context; packed rows may be longer', async () => {
    const small = { ...chat, config: { max_position_embeddings: 60 } }
    const long = { messages: [user('long '.repeat(40)), assistant('b')] }
    const lengthsOf = async (rows: readonly unknown[], options: object) => {
      const data = chatData(rows, small, { loss: 'all', ...options })
      const examples = [...(data.examples(0) as Iterable<Record<string, Tensor>>)]
      const batch = await data.collate!(examples, [...examples.keys()])
      return [data.report.tokens, ...Object.values(batch).map(({ dims }) => dims[1])]
    }
    expect(await lengthsOf([long, rows[0]], {})).toEqual([expect.any(Number), 60, 60, 60, 60])
    expect(await lengthsOf([long], { length: 40 })).toEqual([40, 48, 48, 48, 48])
    const [tokens, ...lengths] = await lengthsOf([rows[0], rows[3]], { length: 512, pack: true })
    expect(tokens).toBeGreaterThan(60)
    expect(lengths).toEqual([tokens, tokens, tokens, tokens])
  })

  it('no rows, no token to learn, all behind the cut > invalid-data', () => {
    expect(invalid(() => chatData([], chat))).toContain('no rows')
    expect(invalid(() => chatData([rows[0], { messages: [user('a')] }], chat))).toContain('row 2')
    expect(invalid(() => chatData(rows, chat, { length: 8 }))).toContain('8 tokens')
  })

  it('a token that the model does not have > invalid-data naming the row', () => {
    const small = { ...chat, config: { vocab_size: 100 } }
    expect(invalid(() => chatData(rows, small))).toMatch(/row 1 .*100/)
  })

  it('pack for a model without known attention > invalid-option with the reason', () => {
    const graph = chat.model.proto.graph!
    const change = (each: NodeProto): NodeProto =>
      each.opType === 'Softmax' ? edit(each, { opType: 'LogSoftmax' }) : each
    const other = (changed: Partial<GraphProto>) => ({
      ...chat,
      model: { ...chat.model, proto: edit(chat.model.proto, { graph: edit(graph, changed) }) },
    })
    const refusal = (changed: Partial<GraphProto>) =>
      thrownMessage('invalid-option', () => chatData(rows, other(changed), { pack: true }))
    expect(refusal({ node: graph.node.map(change) })).toContain("'present.0.key'")
    // A state that is no key or value, as in models with convolutions or recurrences.
    const hybrid = [...graph.output, edit(graph.output[0]!, { name: 'present_conv.0' })]
    const copy = create('NodeProto', { opType: 'Identity', input: ['logits'], output: ['present_conv.0'] })
    expect(refusal({ output: hybrid, node: [...graph.node, copy] })).toMatch(/'present_conv.0'.*convolution/)
    expect(refusal({ output: [graph.output[0]!] })).toContain('no state')
    expect(refusal({ input: graph.input.filter(({ name }) => name !== 'position_ids') })).toContain('position_ids')
  })
})

describe('chatData > pack', () => {
  const model = (dtype: 'bool' | 'float32'): Model =>
    decodeModel(
      modelBytes({
        nodes: [node('Identity', 'input_ids', 'logits')],
        inputs: [
          info('input_ids', ['b', 't'], 'int64'),
          info('position_ids', ['b', 't'], 'int64'),
          info('attention_mask', ['b', 1, 't', 't'], dtype),
        ],
        outputs: [info('logits', ['b', 't'], 'int64')],
      }),
    )

  it('examples > rows of at most the length, each example once', () => {
    const packs = packExamples(
      [5, 3, 7, 2, 2, 1].map((size, row) => ({
        row,
        tokens: Array(size).fill(0),
        counted: Array(size).fill(true),
        preference: false,
      })),
      10,
    )
    expect(packs.map((pack) => pack.map(({ tokens }) => tokens.length)).toSorted()).toEqual([
      [5, 2, 2, 1],
      [7, 3],
    ])
  })

  it('positions begin at 0 in every example, and no example attends to another', async () => {
    const packed = { ...chat, model: model('bool') }
    const data = chatData(rows, packed, { pack: true, length: 256, batchSize: 1 })
    expect(data.length).toBeLessThan(rows.length)
    for await (const { tensors } of batches(data, { batchSize: 1 })) {
      const length = tensors['input_ids']!.dims[1]!
      const positions = Array.from(tensors['position_ids']!.data as BigInt64Array, Number)
      const mask = tensors['attention_mask']!
      expect(mask.dims).toEqual([1, 1, length, length])
      const labels = tensors['labels']!.data as BigInt64Array
      const used = positions.findLastIndex((p, i) => p > 0 || labels[i] !== -100n) + 1
      for (let i = 0; i < used; i++) {
        const seen = Array.from((mask.data as Uint8Array).subarray(i * length, i * length + length))
        const first = i - positions[i]!
        expect(seen.flatMap((sees, j) => (sees ? [j] : []))).toEqual(
          Array.from({ length: i - first + 1 }, (_, k) => first + k),
        )
      }
    }
  })

  it.each(committed)('$name > a token of another example has no effect on loss and gradients', checkPacking)

  it.each(['causal', 'bool', 'float'] as const)('Attention of ai.onnx, %s > the same', (form) =>
    checkPackingOf({ ...chat, model: attentionDecoder(form) }),
  )

  it('a mask of unknown type, or a bias of the model > refused, or added', () => {
    const changed = (of: Model, change: (each: NodeProto) => NodeProto) => {
      const graph = of.proto.graph!
      return { ...of, proto: edit(of.proto, { graph: edit(graph, { node: graph.node.map(change) }) }) }
    }
    const untyped = changed(attentionDecoder('bool'), (each) =>
      each.opType === 'Attention' ? edit(each, { input: each.input.with(3, 'elsewhere') }) : each,
    )
    expect(thrownMessage('invalid-option', () => trainingModel(untyped, { pack: true }))).toContain("'elsewhere'")
    const { node: nodes } = trainingModel(attentionDecoder('float'), { pack: true }).proto.graph!
    const attention = nodes.find(({ opType }) => opType === 'Attention')!
    expect(nodes.find(({ output }) => output[0] === attention.input[3])!.opType).toBe('Add')
  })

  it('GroupQueryAttention with a bias > both are added', async () => {
    const { model } = await readLanguageModel(modelFolder(join(golden, 'qwen2-genai')))
    const graph = model.proto.graph!
    const isGrouped = ({ opType }: NodeProto) => opType === 'GroupQueryAttention'
    const biased = graph.node.map((each) =>
      isGrouped(each)
        ? edit(each, { input: Array.from({ length: 11 }, (_, i) => (i === 10 ? 'own' : (each.input[i] ?? ''))) })
        : each,
    )
    const other = { ...model, proto: edit(model.proto, { graph: edit(graph, { node: biased }) }) }
    const packed = trainingModel(other, { pack: true }).proto.graph!.node
    const grouped = packed.filter(isGrouped)
    expect(grouped).toHaveLength(2)
    for (const each of grouped)
      expect(packed.find(({ output }) => output[0] === each.input[10])).toMatchObject({
        opType: 'Add',
        input: ['own', expect.any(String)],
      })
  })

  it.each([true, false])('the data of the other form of a model > refused: pack %j', async (pack) => {
    const data = chatData(rows, chat, { pack })
    const trainer = await Trainer.create(trainingModel(chat.model, { pack: !pack }), {
      ...{ loss: nextToken(), optimizer: sgd({ lr: 1 }), runtime },
    })
    await expect(trainer.evaluate(data)).rejects.toThrow(pack ? "'input_ids'" : 'packed_input_ids')
    await trainer.dispose()
  })

  it('files of an old operator set and merged decoders > the same', async () => {
    const { model } = chat
    const opsetImport = model.proto.opsetImport.map((each) => (each.domain ? each : edit(each, { version: 13n })))
    await checkPackingOf({ ...chat, model: { ...model, proto: edit(model.proto, { opsetImport }) } })
    await checkPackingOf({ ...chat, model: mergeDecoder(model) })
  })

  it.each(['float32', 'float16', 'bfloat16'] as const)(
    'a mask of %s > 0 where a token attends, a large negative number elsewhere',
    (dtype) => {
      const numbers = numbersOf(blockMask(threeTokens, dtype))
      expect(numbers.map((x) => (x === 0 ? 1 : x <= -65504 && x > -Infinity ? 0 : 2))).toEqual(ownExample)
    },
  )

  it.each(['bool', 'int32', 'int64', 'uint64'] as const)(
    'a mask of %s > 1 where a token attends, 0 elsewhere',
    (dtype) => {
      expect(numbersOf(blockMask(threeTokens, dtype))).toEqual(ownExample)
    },
  )
})

describe('chatData > pack > models of tools/language/export.py', await needs('language models'), () => {
  // The other types have the same attention.
  it.each(exported.filter(({ dtype }) => dtype === 'fp32'))(
    '$name > a token of another example has no effect on loss and gradients',
    checkPacking,
  )
})

/** Segments of an example of two tokens and one of one token, and the positions that each token attends to. */
const threeTokens: Tensor = { dtype: 'int64', dims: [1, 3], data: BigInt64Array.of(1n, 1n, 2n) }
const ownExample = [...[1, 0, 0], ...[1, 1, 0], ...[0, 0, 1]]

async function checkPacking({ folder, dtype }: Exported): Promise<void> {
  await checkPackingOf(await readLanguageModel(modelFolder(folder), { dtype }))
}

/** Trains an adapter for a step over examples in rows of their own, and packed: the losses before and after agree. */
async function checkPackingOf(model: LanguageModel): Promise<void> {
  const adapted = lora(model.model, { r: 2, init: 'gaussian', seed: 3 })
  const texts = ['a b c d e', 'the cat sat', 'x y z x y z x y z', 'one two', 'red green blue red'].map((text, i) => ({
    messages: [user(text), assistant(text.slice(i))],
  }))
  const measure = async (pack: boolean) => {
    const data = chatData(texts, model, { pack, length: 128, batchSize: 8 })
    const trainer = await Trainer.create(trainingModel(adapted, { pack }), {
      ...{ loss: nextToken(), optimizer: sgd({ lr: 0.1 }), runtime, batchSize: 8 },
    })
    try {
      const { loss } = await trainer.evaluate(data)
      await trainer.train(data, { totalSteps: 1 })
      const tensors = adapterOf(trainer.export()).layers.flatMap(({ a, b }) => [...numbersOf(a), ...numbersOf(b)])
      return { rows: data.length, losses: [loss, (await trainer.evaluate(data)).loss], tensors }
    } finally {
      await trainer.dispose()
    }
  }
  const [alone, packed] = [await measure(false), await measure(true)]
  expect(packed.rows).toBeLessThan(alone.rows)
  expect(alone.losses[1]).toBeLessThan(alone.losses[0]! - 1e-4)
  for (const [i, loss] of alone.losses.entries()) expect(Math.abs(packed.losses[i]! - loss)).toBeLessThan(1e-5 * loss)
  const before = adapterOf(adapted).layers.flatMap(({ a, b }) => [...numbersOf(a), ...numbersOf(b)])
  const steps = alone.tensors.map((value, i) => Math.abs(value - before[i]!))
  const differences = alone.tensors.map((value, i) => Math.abs(value - packed.tensors[i]!))
  expect(Math.max(...differences)).toBeLessThan(1e-4 * Math.max(...steps))
}
