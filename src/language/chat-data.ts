import { type DataExample, stackExamples } from '../data/examples.js'
import type { ExampleStream } from '../data/stream.js'
import { dtypes, isFloat } from '../ir/dtype.js'
import { tensorFrom } from '../ir/leaf.js'
import { type Tensor, tensor } from '../ir/tensor.js'
import { maskedScore } from '../op/compose/attention.js'
import { checkBoolean, checkNames, checkNumber, count, invalidOption, positiveCount } from '../util/check.js'
import { checksum } from '../util/checksum.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import { encodeChat, type TokenExample } from './encode-chat.js'
import { contextLengthOf, type LanguageModel } from './language-model.js'
import { findPacking, type Packing, packedTokensName, segmentsName } from './packing.js'
import { inlineCacheBranch } from './training-model.js'

/** Label of a position that the loss does not count: the `ignoreIndex` of `nextToken`. */
export const ignoredLabel = -100

/** Options of `chatData`. */
export interface ChatDataOptions {
  /**
   * Largest number of tokens of an example; longer ones are cut at their end, and counted. Default 1024, or the context
   * of the model if it is shorter.
   */
  readonly length?: number | undefined
  /** Tokens that are learned: the answers of the assistant (default), or all. */
  readonly loss?: 'assistant' | 'all' | undefined
  /**
   * Whether several examples share a row of a batch, up to `length` tokens, each with positions from 0 and attention to
   * itself only. Train `trainingModel(model, { pack: true })` with them. For models whose attention is
   * GroupQueryAttention, Attention (operator set 23 and later) or a Softmax between two products, and those with the
   * inputs position_ids and attention_mask [batch, 1, length, length]. Default false.
   */
  readonly pack?: boolean | undefined
  /**
   * Examples per batch, that of the trainer: examples of similar length are put into one batch, so that little is
   * padding. Default 8.
   */
  readonly batchSize?: number | undefined
  /** Seed of the order. Default 0. */
  readonly seed?: number | undefined
}

/** Counts of `chatData`. */
export interface ChatDataReport {
  /** Rows of the batches: examples, or packs of examples. */
  readonly rows: number
  readonly examples: number
  readonly tokens: number
  /** Tokens that the loss counts. */
  readonly counted: number
  /** Number of tokens of the longest example. */
  readonly longest: number
  /** Examples that were cut at `length`. */
  readonly cut: number
  /** Examples that were left out because all counted tokens were after the cut. */
  readonly leftOut: number
  /** Rows of preference data, of which only the chosen answer is learned. */
  readonly preferences: number
  /** Warnings for people: a sentence for each of the above counts that loses data. */
  readonly warnings: readonly string[]
}

/** Examples to train on, in batches of similar length, with a report. */
export interface ChatData extends ExampleStream {
  readonly length: number
  readonly examplesOf: readonly TokenExample[]
  readonly report: ChatDataReport
}

/** Lengths of batches are multiples of this number, at most the context, so that there are fewer different shapes. */
export const lengthStep = 16
/** Number of batches whose examples are sorted by length together. */
const batchesSorted = 32

/**
 * Encodes rows of chat data as examples with input_ids, attention_mask, position_ids and labels: the next token, or
 * -100 if the loss does not count it. Batches are padded at their end to the longest example.
 * @param rows values of the forms that `parseChatRow` reads
 * @throws OnnxIreError `invalid-data` naming the row; if there are no rows, or no token counts; `invalid-option` for
 *   `pack` with a model that cannot keep packed examples apart
 * @example
 * ```ts
 * const data = chatData(await readJsonRows('support.jsonl'), chat, { length: 512, batchSize: 8 })
 * for (const warning of data.report.warnings) console.warn(warning)
 * ```
 */
export function chatData(rows: readonly unknown[], chat: LanguageModel, options: ChatDataOptions = {}): ChatData {
  const { loss } = checkOptions(options)
  return toChatData(encodeRows(rows, chat, loss), chat, options)
}

/** Encodes all rows. Throws `invalid-data` if one has no token to learn, or if there are none. */
export function encodeRows(rows: readonly unknown[], chat: LanguageModel, loss: 'assistant' | 'all'): TokenExample[] {
  if (rows.length === 0)
    throw new OnnxIreError('invalid-data', 'the data have no rows: write one JSON object per example')
  const encoded = rows.map((row, i) => encodeChat(row, i + 1, chat, { loss }))
  const uncounted = encoded.find(({ counted }) => !counted.includes(true))
  if (uncounted)
    throw new OnnxIreError(
      'invalid-data',
      `row ${uncounted.row} has no token to learn: it needs a message of the assistant, or loss: 'all'`,
    )
  return encoded
}

/** Creates data of encoded rows; see `chatData`. */
export function toChatData(encoded: readonly TokenExample[], chat: LanguageModel, options: ChatDataOptions): ChatData {
  const { pack, batchSize, seed } = checkOptions(options)
  const length = lengthOf('chatData', options.length, chat)
  const packing = pack ? findPacking('chatData', inlineCacheBranch(chat.model.proto.graph!)) : undefined
  const cut = encoded.map((example) => cutExample(example, length))
  const kept = cut.filter(({ counted }) => counted.includes(true))
  if (kept.length === 0)
    throw new OnnxIreError(
      'invalid-data',
      `all answers begin after ${length} tokens, so no token would be learned: raise the option length`,
    )
  checkContext('chatData', length, kept, chat)
  checkVocabulary(kept, chat)
  const packs = pack ? packExamples(kept, length) : kept.map((example) => [example])
  const sizes = packs.map((each) => each.reduce((sum, { tokens }) => sum + tokens.length, 0))
  checkAngles(packs, sizes, length, chat)
  // Packed rows may be longer than the context, since each example has its own positions.
  const maxLength = sizes.reduce((most, size) => Math.max(most, size), contextLengthOf(chat))
  const report = createReport(encoded, kept, packs.length, length)
  return {
    length: packs.length,
    shuffleBuffer: 1, // the order of `examples` is random already
    examplesOf: kept,
    report,
    *examples(epoch) {
      for (const i of orderByLength(sizes, batchSize, new Random(seed).stream(`chat ${epoch}`)))
        yield toExample(packs[i]!, packing)
    },
    collate: (examples, indices) => collate(examples, indices, chat.padToken, maxLength, packing),
    checksum: () =>
      checksum([
        ...kept.flatMap(({ tokens, counted }) => [Int32Array.from(tokens), Uint8Array.from(counted, Number)]),
        JSON.stringify({ length, pack, batchSize, seed }),
      ]),
  }
}

function checkOptions(options: ChatDataOptions) {
  const owner = 'chatData'
  checkNames(owner, options, ['length', 'loss', 'pack', 'batchSize', 'seed'])
  const { loss = 'assistant', pack = false, batchSize = 8, seed = 0 } = options
  checkNumber(owner, 'batchSize', batchSize, positiveCount)
  checkNumber(owner, 'seed', seed, count)
  checkBoolean(owner, 'pack', pack)
  if (loss !== 'assistant' && loss !== 'all') throw invalidOption(owner, 'loss', loss, "'assistant' or 'all'")
  return { loss, pack, batchSize, seed }
}

/** The length at which examples are cut: by default 1024, or the context of the model if it is shorter. */
export function lengthOf(owner: string, length: number | undefined, chat: LanguageModel): number {
  if (length === undefined) return Math.min(1024, contextLengthOf(chat))
  return checkNumber(owner, 'length', length, { min: 2, max: 2 ** 24, integer: true })
}

/** Throws `invalid-option` for an example that is longer than the context of the model, although it was cut. */
export function checkContext(
  owner: string,
  length: number,
  examples: readonly TokenExample[],
  chat: LanguageModel,
  reader = 'model',
): void {
  const context = contextLengthOf(chat)
  const long = examples.find(({ tokens }) => tokens.length > context)
  if (long)
    throw new OnnxIreError(
      'invalid-option',
      `${owner}: option 'length' is ${length}; it must be at most ${context}, the number of tokens that the ${reader} reads: row ${long.row} has ${long.tokens.length}`,
    )
}

/**
 * Throws `invalid-option` for packed rows so long that a model with LongRoPE rotates by other angles than in the
 * examples alone.
 */
function checkAngles(
  packs: readonly (readonly TokenExample[])[],
  sizes: readonly number[],
  length: number,
  { config }: LanguageModel,
): void {
  const scaling = (config['rope_scaling'] ?? config['rope_parameters'] ?? {}) as Readonly<Record<string, unknown>>
  const { rope_type, type = rope_type } = scaling
  const original = scaling['original_max_position_embeddings'] ?? config['original_max_position_embeddings']
  if ((type !== 'longrope' && type !== 'su') || typeof original !== 'number') return
  if (packs.some((pack, i) => pack.length > 1 && sizes[i]! > original))
    throw new OnnxIreError(
      'invalid-option',
      `chatData: option 'length' is ${length}; with 'pack' it must be at most ${original}, because the model has other rotary angles in longer rows (rope_scaling of config.json is '${type}')`,
    )
}

export const cutExample = (example: TokenExample, length: number): TokenExample =>
  example.tokens.length <= length
    ? example
    : { ...example, tokens: example.tokens.slice(0, length), counted: example.counted.slice(0, length) }

export function checkVocabulary(examples: readonly TokenExample[], { config }: LanguageModel): void {
  const size = config['vocab_size']
  if (typeof size !== 'number') return
  for (const { row, tokens } of examples) {
    const wrong = tokens.find((token) => token >= size)
    if (wrong !== undefined)
      throw new OnnxIreError(
        'invalid-data',
        `row ${row} has the token ${wrong}, but the model has only ${size}: tokenizer and model do not belong together`,
      )
  }
}

function createReport(
  encoded: readonly TokenExample[],
  kept: readonly TokenExample[],
  packs: number,
  length: number,
): ChatDataReport {
  const sum = (of: (example: TokenExample) => number) => kept.reduce((total, example) => total + of(example), 0)
  const cut = encoded.filter(({ tokens }) => tokens.length > length).length
  const leftOut = encoded.length - kept.length
  const preferences = encoded.filter(({ preference }) => preference).length
  const longest = encoded.reduce((most, { tokens }) => Math.max(most, tokens.length), 0)
  const of = (count: number) => `${count} of ${encoded.length} examples`
  return {
    rows: packs,
    examples: kept.length,
    tokens: sum(({ tokens }) => tokens.length),
    counted: sum(({ counted }) => counted.filter((each) => each).length),
    longest,
    cut,
    leftOut,
    preferences,
    warnings: [
      ...(cut > 0
        ? [`${of(cut)} are longer than ${length} tokens and are cut at their end; the longest has ${longest}`]
        : []),
      ...(leftOut > 0 ? [`${of(leftOut)} are left out, because their answers begin after the cut`] : []),
      ...(preferences > 0 ? [`${of(preferences)} have a rejected answer, which is not used`] : []),
    ],
  }
}

/** A random order in which the examples of a batch have similar lengths. */
export function orderByLength(sizes: readonly number[], batchSize: number, random: Random): number[] {
  const order = random.permutation(sizes.length)
  const batches: number[][] = []
  for (let start = 0; start < order.length; start += batchSize * batchesSorted) {
    const some = Array.from(order.slice(start, start + batchSize * batchesSorted)).sort((a, b) => sizes[a]! - sizes[b]!)
    for (let i = 0; i < some.length; i += batchSize) batches.push(some.slice(i, i + batchSize))
  }
  // Only the last batch may be smaller than the others.
  const whole = batches.filter((batch) => batch.length === batchSize)
  const rest = batches.filter((batch) => batch.length < batchSize)
  return [...Array.from(random.permutation(whole.length), (i) => whole[i]!), ...rest].flat()
}

/**
 * Packs examples into rows of at most `length` tokens: the longest first, each into the row that it fills best
 * (best-fit decreasing).
 */
export function packExamples(examples: readonly TokenExample[], length: number): TokenExample[][] {
  const packs: { readonly room: number; readonly examples: TokenExample[] }[][] = Array.from(
    { length: length + 1 },
    () => [],
  )
  for (const example of examples.toSorted((a, b) => b.tokens.length - a.tokens.length)) {
    const size = example.tokens.length
    let room = size
    while (room < length && packs[room]!.length === 0) room++
    const pack = packs[room]!.pop() ?? { room: length, examples: [] }
    packs[pack.room - size]!.push({ room: pack.room - size, examples: [...pack.examples, example] })
  }
  return packs.flatMap((each) => each.map(({ examples }) => examples))
}

export const int64 = (dims: readonly number[], values: ArrayLike<number>): Tensor =>
  tensor(
    'int64',
    dims,
    BigInt64Array.from({ length: values.length }, (_, i) => BigInt(values[i]!)),
  )

const tokensName = (packing: Packing | undefined) => (packing?.kind === 'segments' ? packedTokensName : 'input_ids')

/** The tensors of a row: one example, or packed ones. */
function toExample(pack: readonly TokenExample[], packing: Packing | undefined): DataExample {
  const tokens = pack.flatMap((example) => example.tokens)
  const labels = pack.flatMap(({ tokens, counted }) =>
    tokens.map((_, i) => (counted[i + 1] ? tokens[i + 1]! : ignoredLabel)),
  )
  const positions = pack.flatMap(({ tokens }) => [...tokens.keys()])
  const one = [tokens.length]
  return {
    [tokensName(packing)]: int64(one, tokens),
    ...(packing
      ? {
          [segmentsName]: int64(
            one,
            pack.flatMap(({ tokens }, i) => tokens.map(() => i + 1)),
          ),
        }
      : {
          attention_mask: int64(
            one,
            tokens.map(() => 1),
          ),
        }),
    position_ids: int64(one, positions),
    labels: int64(one, labels),
  }
}

function collate(
  examples: readonly DataExample[],
  indices: ArrayLike<number>,
  pad: number,
  maxLength: number,
  packing: Packing | undefined,
): Readonly<Record<string, Tensor>> {
  const lengths = { multipleOf: lengthStep, maxLength }
  const batch = stackExamples(examples, indices, {
    [tokensName(packing)]: { value: pad, ...lengths },
    [packing ? segmentsName : 'attention_mask']: lengths,
    position_ids: lengths,
    labels: { value: ignoredLabel, ...lengths },
  })
  if (packing?.kind !== 'mask') return batch
  const { [segmentsName]: segments, ...rest } = batch
  return { ...rest, attention_mask: blockMask(segments!, packing.dtype) }
}

/**
 * The mask [batch, 1, length, length] under which a token attends to the tokens of its own example up to itself: true,
 * 1, or for floats 0 where it attends, and a large negative number elsewhere.
 */
export function blockMask(segments: Tensor, dtype: Tensor['dtype']): Tensor {
  const [batch, length] = segments.dims as readonly [number, number]
  const of = segments.data as BigInt64Array
  const data = new dtypes[dtype].array!(batch * length * length) as unknown as { [i: number]: number | bigint }
  const values = tensorFrom(dtype, [2], isFloat(dtype) ? [0, maskedScore(dtype)] : [1, 0])
  const [seen, hidden] = values.data as ArrayLike<unknown> as readonly [number | bigint, number | bigint]
  for (let row = 0; row < batch; row++)
    for (let i = 0; i < length; i++)
      for (let j = 0; j < length; j++) {
        const attends = j <= i && of[row * length + i] === of[row * length + j]
        data[(row * length + i) * length + j] = attends ? seen : hidden
      }
  return tensor(dtype, [batch, 1, length, length], data as never)
}
