import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import type { Model, Runtime } from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { type GeneratedText, type LanguageModel, readLanguageModel, TextGenerator } from '../../src/language/index.js'
import { sampleToken } from '../../src/language/sample.js'
import { modelFolder, node } from '../../src/node/index.js'
import { create, edit } from '../../src/onnx/proto/message.js'
import { toTensorProto } from '../../src/onnx/proto/tensor.js'
import { needs } from '../requirements.js'
import { committed, type Exported, exported, golden, readReference } from './models.js'

let runtime: Runtime
beforeAll(() => {
  runtime = node()
})
afterAll(() => runtime.dispose())

/** The reference without the token that ends it. */
const expectedTokens = (generated: readonly number[], end: readonly number[]) => {
  const at = generated.findIndex((token) => end.includes(token))
  return at < 0 ? generated : generated.slice(0, at)
}

async function checkGreedy({ folder, dtype }: Exported): Promise<void> {
  const chat = await readLanguageModel(modelFolder(folder), { dtype })
  const generator = await TextGenerator.create(chat, runtime)
  try {
    for (const { messages, generated } of readReference(folder)) {
      const expected = expectedTokens(generated, chat.endTokens)
      expect(expected.length).toBeGreaterThan(8)
      const { tokens } = await generator.complete(messages, { maxTokens: generated.length })
      expect(tokens).toEqual(expected)
      const uncached = await generator.complete(messages, { maxTokens: generated.length, cache: false })
      expect(uncached.tokens).toEqual(expected)
    }
  } finally {
    await generator.dispose()
  }
}

describe('TextGenerator > greedy equals generate of transformers, with and without a cache', () => {
  it.each(committed.filter(({ name }) => name.startsWith('llama')))('$name', checkGreedy)
})

/** Activations rounded to 8 bits or float16 change tokens of a model of random weights. */
const isExact = ({ name, dtype }: Exported) => dtype === 'fp32' || (dtype === 'q4' && !name.includes('genai'))

describe('TextGenerator > models of tools/language/export.py', await needs('language models'), () => {
  it.each(exported.filter(isExact))('$name > greedy equals generate of transformers', checkGreedy)
})

/** A model whose logits are NaN. */
function withNaN(model: Model): Model {
  const graph = model.proto.graph!
  const rename = (names: readonly string[]) => names.map((name) => (name === 'logits' ? 'finite' : name))
  const nodes = graph.node.map((each) => edit(each, { input: rename(each.input), output: rename(each.output) }))
  const product = create('NodeProto', { opType: 'Mul', input: ['finite', 'nan'], output: ['logits'] })
  const initializer = [...graph.initializer, toTensorProto('nan', tensorFrom('float32', [], [Number.NaN]))]
  return { ...model, proto: edit(model.proto, { graph: edit(graph, { node: [...nodes, product], initializer }) }) }
}

describe('TextGenerator', () => {
  let chat: LanguageModel
  let generator: TextGenerator
  /** The tokenizer of the model with another text for tokens. */
  const withDecode = (decode: (tokens: ArrayLike<number>) => string): LanguageModel['tokenizer'] =>
    Object.assign(Object.create(chat.tokenizer), { encode: chat.tokenizer.encode.bind(chat.tokenizer), decode })
  beforeAll(async () => {
    chat = await readLanguageModel(modelFolder(`${golden}/llama-optimum`))
    generator = await TextGenerator.create(chat, runtime)
  })
  afterAll(() => generator.dispose())

  it('pieces > together are the text, and are whole characters', async () => {
    const pieces: string[] = []
    const running = generator.generate('Hello', { maxTokens: 40 })
    let result: GeneratedText | undefined
    while (!result) {
      const { done, value } = await running.next()
      if (done) result = value
      else pieces.push(value)
    }
    expect(pieces.length).toBeGreaterThan(3)
    expect(pieces.join('')).toBe(result.text)
    expect(result.text).toBe(chat.tokenizer.decode(result.tokens))
  })

  it('a text to stop at > is not part of the answer or of the pieces', async () => {
    const { text } = await generator.complete('Hello', { maxTokens: 20 })
    const stop = [text.slice(6, 9)]
    const pieces: string[] = []
    for await (const piece of generator.generate('Hello', { maxTokens: 20, stop })) pieces.push(piece)
    expect(pieces.join('')).toBe(text.slice(0, text.indexOf(stop[0]!)))
    expect(await generator.complete('Hello', { maxTokens: 20, stop })).toMatchObject({ ended: 'stop' })
  })

  it('a text to stop at > pieces are whole characters of two units', async () => {
    const tokenizer = withDecode((tokens) => '\u{1F600}'.repeat(tokens.length))
    const smiling = await TextGenerator.create({ ...chat, tokenizer }, runtime)
    const pieces: string[] = []
    for await (const piece of smiling.generate('Hello', { maxTokens: 4, stop: ['no'] })) pieces.push(piece)
    expect(pieces.join('')).toBe('\u{1F600}'.repeat(4))
    expect(pieces.filter((piece) => /\p{Surrogate}/u.test(piece))).toEqual([])
    await smiling.dispose()
  })

  it('an end within a character > the text is that of all tokens', async () => {
    const { tokens } = await generator.complete('Hello', { maxTokens: 5 })
    const tokenizer = withDecode((some) => `${'a'.repeat(some.length)}\uFFFD`)
    const ending = await TextGenerator.create({ ...chat, tokenizer, endTokens: [tokens[3]!] }, runtime)
    const found = await ending.complete('Hello')
    expect(found).toMatchObject({ text: tokenizer.decode(found.tokens), ended: 'end' })
    await ending.dispose()
  })

  it('a token that ends texts > ends the answer', async () => {
    const { tokens } = await generator.complete('Hello', { maxTokens: 5 })
    const ending = await TextGenerator.create({ ...chat, endTokens: [tokens[3]!] }, runtime)
    const found = await ending.complete('Hello')
    expect(found).toMatchObject({ tokens: tokens.slice(0, tokens.indexOf(tokens[3]!)), ended: 'end' })
    await ending.dispose()
  })

  it('the same seed > the same answer; another > another', async () => {
    const answer = async (seed: number) =>
      (await generator.complete('Hello', { maxTokens: 12, temperature: 1, topP: 0.95, topK: 50, seed })).tokens
    expect(await answer(1)).toEqual(await answer(1))
    expect(await answer(1)).not.toEqual(await answer(2))
  })

  it.each(['max_position_embeddings', 'n_positions'])(
    'the context, %s > limits the answer; a longer prompt is refused',
    async (field) => {
      const small = await TextGenerator.create({ ...chat, config: { [field]: 8 } }, runtime)
      const given = chat.tokenizer.encode('Hello').length
      expect(await small.complete('Hello')).toMatchObject({ tokens: { length: 8 - given }, ended: 'length' })
      await expect(small.complete('Hello, how are you today')).rejects.toMatchObject({ code: 'invalid-data' })
      await expect(small.complete('')).rejects.toMatchObject({ code: 'invalid-data' })
      await small.dispose()
    },
  )

  it.each([[''], 'no', [3]])('stop %j > invalid-option', async (stop) => {
    const action = generator.complete('Hello', { stop: stop as readonly string[] })
    await expect(action).rejects.toMatchObject({ code: 'invalid-option', message: expect.stringContaining("'stop'") })
  })

  it('logits that are NaN > not-finite with the number of the token', async () => {
    const broken = await TextGenerator.create({ ...chat, model: withNaN(chat.model) }, runtime)
    await expect(broken.complete('Hello')).rejects.toMatchObject({
      code: 'not-finite',
      message: expect.stringContaining('token 1 '),
    })
    await broken.dispose()
  })

  it.each([
    { maxTokens: 0 },
    { temperature: -1 },
    { topP: 0 },
    { topK: 1.5 },
    { beams: 2 },
    { topP: 0.9 },
    { topK: 5 },
  ])('%j > invalid-option', async (options) => {
    await expect(generator.complete('Hello', options)).rejects.toMatchObject({ code: 'invalid-option' })
  })
})

describe('sampleToken', () => {
  const logits = [0, 3, 2, 1].map((x) => x * Math.LN2) // probabilities 1, 8, 4, 2 of 15
  const frequencies = (options: Parameters<typeof sampleToken>[1]) => {
    const random = new Random(0)
    const counts = [0, 0, 0, 0]
    for (let i = 0; i < 15000; i++) counts[sampleToken(logits, options, random)]! += 1 / 1000
    return counts.map(Math.round)
  }

  it('temperature > probabilities, sharper below 1', () => {
    expect(frequencies({ temperature: 1 })).toEqual([1, 8, 4, 2])
    expect(frequencies({ temperature: 0.5 })[1]).toBe(Math.round((15 * 64) / 85))
    expect(frequencies({ temperature: 0 })).toEqual([0, 15, 0, 0])
  })

  it('topK and topP > only the most probable tokens', () => {
    expect(frequencies({ temperature: 1, topK: 2 })).toEqual([0, 10, 5, 0])
    expect(frequencies({ temperature: 1, topP: 0.5 })).toEqual([0, 15, 0, 0])
    expect(frequencies({ temperature: 1, topP: 0.6 })).toEqual([0, 10, 5, 0])
  })
})
