/// <reference lib="esnext.disposable" preserve="true" />
import { dtypes } from '../ir/dtype.js'
import { numbersOf, tensorFrom } from '../ir/leaf.js'
import { type Tensor, type Tensors, tensor } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import { compileModel } from '../lowering/compile.js'
import { createInput, listInputs } from '../onnx/import/declarations.js'
import type { Program, Runtime } from '../runtime/runtime.js'
import {
  checkBoolean,
  checkNames,
  checkNumber,
  count,
  invalidOption,
  isStringList,
  positiveCount,
} from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import { getOwn } from '../util/record.js'
import type { ChatMessage } from './chat-rows.js'
import { chatTemplateOf } from './encode-chat.js'
import { contextLengthOf, type LanguageModel } from './language-model.js'
import { pastName } from './packing.js'
import { checkSampling, type SamplingOptions, sampleToken } from './sample.js'

/** Options of `TextGenerator.generate`. */
export interface GenerateOptions extends SamplingOptions {
  /** Largest number of new tokens. Default 256. */
  readonly maxTokens?: number | undefined
  /** Seed of the samples. Default 0. */
  readonly seed?: number | undefined
  /** Texts that end the answer; they are not part of it. */
  readonly stop?: readonly string[] | undefined
  /**
   * Whether keys and values of earlier tokens are kept. Without, every token takes the time of the whole text; the
   * result is the same. Default true.
   */
  readonly cache?: boolean | undefined
  /** Ends the answer after the current token, without an error, once it is aborted. */
  readonly signal?: { readonly aborted: boolean } | undefined
}

/** A generated answer. */
export interface GeneratedText {
  readonly text: string
  /** Tokens of the answer, without the token that ended it. */
  readonly tokens: readonly number[]
  /** Reason of the end: a token that ends texts, a text of `stop`, the largest number of tokens, or the signal. */
  readonly ended: 'end' | 'stop' | 'length' | 'aborted'
}

/**
 * Generates text with a language model, token by token.
 * @example
 * ```ts
 * const generator = await TextGenerator.create(chat, node())
 * for await (const piece of generator.generate([{ role: 'user', content: 'Hello' }])) process.stdout.write(piece)
 * await generator.dispose()
 * ```
 */
export class TextGenerator implements AsyncDisposable {
  readonly #chat: LanguageModel
  readonly #program: Program
  readonly #inputs: ReadonlyMap<string, Value>

  private constructor(chat: LanguageModel, program: Program, inputs: ReadonlyMap<string, Value>) {
    this.#chat = chat
    this.#program = program
    this.#inputs = inputs
  }

  /**
   * Compiles a language model for generation. To use a trained model: `{ ...chat, model }`.
   * @throws OnnxIreError `runtime` if onnxruntime rejects the model; `invalid-model` if it is not a decoder
   */
  static async create(chat: LanguageModel, runtime: Runtime): Promise<TextGenerator> {
    const inputs = new Map(listInputs(chat.model.proto).map((info) => [info.name ?? '', createInput(info)]))
    if (!inputs.has('input_ids'))
      throw new OnnxIreError(
        'invalid-model',
        `the model has no input 'input_ids' but ${[...inputs.keys()].map((name) => `'${name}'`).join(', ')}`,
      )
    return new TextGenerator(chat, await compileModel(runtime, chat.model), inputs)
  }

  /**
   * Generates an answer to messages, or a continuation of a text, and yields it in pieces of whole characters. The
   * value that the iterator returns at the end has the whole answer; `complete` returns it at once.
   * @throws OnnxIreError `invalid-option`; `invalid-data` if the chat template refuses the messages, or if the prompt
   *   is empty or fills the context; `not-finite` if a logit is NaN; `runtime`
   */
  async *generate(
    prompt: string | readonly ChatMessage[],
    options: GenerateOptions = {},
  ): AsyncGenerator<string, GeneratedText, undefined> {
    const { maxTokens = 256, seed = 0, stop = [], cache = true } = checkOptions(options)
    const { tokenizer, endTokens } = this.#chat
    const given = this.#encode(prompt)
    const limit = Math.min(maxTokens, contextLengthOf(this.#chat) - given.length)
    const random = new Random(seed).stream('generate')
    const held = stop.reduce((most, text) => Math.max(most, text.length - 1), 0)
    const tokens: number[] = []
    let [past, text, shown] = [this.#emptyPast(), '', 0]
    let ended: GeneratedText['ended'] | undefined = limit > 0 ? undefined : 'length'
    while (ended === undefined) {
      const all = [...given, ...tokens]
      const from = cache && tokens.length > 0 && past.length > 0 ? all.length - 1 : 0
      const outputs = await this.#run(all, from, from > 0 ? past : this.#emptyPast())
      past = this.#nextPast(outputs)
      const token = sampleToken(lastRow(outputs, tokens.length), options, random)
      const isEnd = endTokens.includes(token)
      if (!isEnd) tokens.push(token)
      const isFull = tokens.length >= limit
      const isAborted = options.signal?.aborted === true
      // A character may consist of several tokens, of which the last is missing.
      const decoded = tokenizer.decode(tokens)
      text = decoded.endsWith('\uFFFD') && !isEnd && !isFull && !isAborted ? text : decoded
      const found = stop.map((each) => text.indexOf(each)).filter((at) => at >= 0)
      if (found.length > 0) {
        text = text.slice(0, Math.min(...found))
        ended = 'stop'
      } else if (isEnd) ended = 'end'
      else if (isFull) ended = 'length'
      else if (isAborted) ended = 'aborted'
      const end = ended === undefined ? wholeCharacters(text, text.length - held) : text.length
      if (end > shown) {
        yield text.slice(shown, end)
        shown = end
      }
    }
    return { text, tokens, ended }
  }

  /** Generates an answer and returns it as a whole; see `generate`. */
  async complete(prompt: string | readonly ChatMessage[], options: GenerateOptions = {}): Promise<GeneratedText> {
    const pieces = this.generate(prompt, options)
    for (;;) {
      const { done, value } = await pieces.next()
      if (done) return value
    }
  }

  /** Frees the compiled model; the runtime remains usable. */
  async dispose(): Promise<void> {
    await this.#program.release()
  }

  /** The same as `dispose`, at the end of a block with `await using generator = await TextGenerator.create(...)`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  #encode(prompt: string | readonly ChatMessage[]): number[] {
    const tokens =
      typeof prompt === 'string'
        ? this.#chat.tokenizer.encode(prompt, { around: true })
        : this.#chat.tokenizer.encode(chatTemplateOf(this.#chat).render(prompt, { prompt: true }))
    if (tokens.length === 0) throw new OnnxIreError('invalid-data', 'generate: the prompt has no tokens')
    if (tokens.length >= contextLengthOf(this.#chat))
      throw new OnnxIreError(
        'invalid-data',
        `generate: the prompt has ${tokens.length} tokens, but the model reads at most ${contextLengthOf(this.#chat)}, the answer included: shorten it`,
      )
    return tokens
  }

  /** Keys and values, and other states, of no token: their unknown lengths are 0. */
  #emptyPast(): [name: string, Tensor][] {
    return [...this.#inputs].flatMap(([name, { dtype, shape }]): [string, Tensor][] => {
      if (!pastName.test(name)) return []
      const dims = (shape ?? []).map((dim, axis) => (typeof dim === 'number' ? dim : axis === 0 ? 1 : 0))
      const size = dims.reduce((product, dim) => product * dim, 1)
      return [[name, tensor(dtype, dims, new dtypes[dtype].array!(size))]]
    })
  }

  /** The states that a run returned, under the names of the inputs. */
  #nextPast(outputs: Tensors): [name: string, Tensor][] {
    const names = [...this.#inputs.keys()].filter((name) => pastName.test(name))
    return names.map((name) => {
      const present =
        getOwn(outputs, name.replace(/^past(_key_values)?/, 'present')) ??
        getOwn(outputs, name.replace(pastName, 'present'))
      if (present) return [name, present]
      throw new OnnxIreError('invalid-model', `the model has the input '${name}', but no output for its next state`)
    })
  }

  #run(tokens: readonly number[], from: number, past: readonly (readonly [string, Tensor])[]): Promise<Tensors> {
    const integers = (name: string, values: ArrayLike<number>) =>
      tensorFrom(this.#inputs.get(name)!.dtype, [1, values.length], values)
    const feeds: Record<string, Tensor> = Object.fromEntries(past)
    for (const name of this.#inputs.keys()) {
      if (pastName.test(name)) continue
      if (name === 'input_ids') feeds[name] = integers(name, tokens.slice(from))
      else if (name === 'attention_mask')
        feeds[name] = integers(
          name,
          tokens.map(() => 1),
        )
      else if (name === 'position_ids')
        feeds[name] = integers(
          name,
          Array.from({ length: tokens.length - from }, (_, i) => from + i),
        )
      else if (name === 'num_logits_to_keep') feeds[name] = tensor('int64', [], BigInt64Array.of(1n))
      else if (name === 'use_cache_branch') feeds[name] = tensor('bool', [1], Uint8Array.of(from > 0 ? 1 : 0))
      else throw new OnnxIreError('invalid-model', `generate: the model has an input '${name}' that is not supported`)
    }
    return this.#program.run(feeds)
  }
}

function checkOptions(options: GenerateOptions): GenerateOptions {
  const owner = 'generate'
  checkNames(owner, options, ['maxTokens', 'seed', 'stop', 'cache', 'signal', 'temperature', 'topP', 'topK'])
  const { maxTokens, seed, cache, stop = [] } = options
  if (maxTokens !== undefined) checkNumber(owner, 'maxTokens', maxTokens, positiveCount)
  if (seed !== undefined) checkNumber(owner, 'seed', seed, count)
  if (cache !== undefined) checkBoolean(owner, 'cache', cache)
  if (!isStringList(stop) || stop.includes('')) throw invalidOption(owner, 'stop', stop, 'a list of texts, none empty')
  checkSampling(options)
  return options
}

/** The end of the characters of a text up to a position, which may be in the middle of a surrogate pair. */
const wholeCharacters = (text: string, end: number): number =>
  /[\uD800-\uDBFF]/.test(text.charAt(end - 1)) ? end - 1 : end

/** The logits of the last position. Throws `not-finite` if one is NaN. */
function lastRow(outputs: Tensors, index: number): number[] {
  const logits = outputs['logits']
  if (!logits) throw new OnnxIreError('invalid-model', "generate: the model has no output 'logits'")
  const { dtype, dims, data } = logits
  const width = dims.at(-1)!
  const row = numbersOf({ dtype, dims: [width], data: (data as Float32Array).subarray(data.length - width) })
  if (!row.some(Number.isNaN)) return row
  throw new OnnxIreError(
    'not-finite',
    `generate: the logits of token ${index + 1} of the answer are NaN: the weights of the model are not finite, or its values exceed their type (${dtype})`,
  )
}
