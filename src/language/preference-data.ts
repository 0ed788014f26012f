import type { ExampleStream } from '../data/stream.js'
import { numbersOf, tensorFrom } from '../ir/leaf.js'
import type { Tensors } from '../ir/tensor.js'
import { compileGraph } from '../lowering/compile.js'
import { importGraph } from '../onnx/import/import-graph.js'
import type { Model } from '../onnx/model.js'
import { op } from '../op/op.js'
import type { Runtime } from '../runtime/runtime.js'
import { checksumModel } from '../train/checkpoint/checksums.js'
import { prepareForTraining } from '../train/model/prepare-model.js'
import { checkNames, checkNumber, count, positiveCount } from '../util/check.js'
import { checksum } from '../util/checksum.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import {
  type ChatDataReport,
  checkContext,
  checkVocabulary,
  cutExample,
  ignoredLabel,
  int64,
  lengthOf,
  lengthStep,
  orderByLength,
} from './chat-data.js'
import { parseChatRow, selectPair } from './chat-rows.js'
import { encodeParsed, type TokenExample } from './encode-chat.js'
import { contextLengthOf, type LanguageModel } from './language-model.js'
import { findPairs, referenceName } from './preference-loss.js'
import { pairPrefix, trainingModel } from './training-model.js'

/** Options of `preferenceData`, as those of `chatData`. */
export interface PreferenceDataOptions {
  /**
   * Largest number of tokens of a prompt with an answer; longer ones are cut at their end, and counted. Default 1024, or
   * the context of the model if it is shorter.
   */
  readonly length?: number | undefined
  /** Pairs per batch, as the trainer's: pairs of similar length are put into one batch. Default 8. */
  readonly batchSize?: number | undefined
  /** Seed of the order. Default 0. */
  readonly seed?: number | undefined
}

/** Two answers to a prompt, each with the prompt before it. */
export interface AnswerPair {
  readonly chosen: TokenExample
  readonly rejected: TokenExample
  /** Sums of log p of the tokens of both answers under the reference model. */
  readonly reference?: readonly [chosen: number, rejected: number]
}

/** Pairs of answers to train on, in batches of similar length, with a report. An example is a pair. */
export interface PreferenceData extends ExampleStream {
  readonly length: number
  readonly pairs: readonly AnswerPair[]
  /** Counts of pairs, and of the tokens of both answers. */
  readonly report: ChatDataReport
  /**
   * Data of the same pairs with other reference sums.
   * @param source text that identifies the reference model, for the checksum of the data. Default: the sums themselves
   */
  withReference(sums: readonly (readonly [number, number])[], source?: string): PreferenceData
  /** Number of tokens of the longer answer of every pair, with its prompt. */
  readonly sizes: readonly number[]
  /** Loads pairs by their indices. */
  load(indices: readonly number[]): Tensors
}

/**
 * Encodes rows {prompt, chosen, rejected} as pairs of texts for `dpo` and `orpo`, with the tensors of `chatData` as
 * [pairs, 2, length] under the names of `trainingModel` with `pairs`. The losses count the answers alone.
 * @param rows values of the forms {prompt, chosen, rejected} and {chosen, rejected}, text or messages
 * @throws OnnxIreError `invalid-data` naming the row; if there are no rows, or no token counts
 * @example
 * ```ts
 * const data = preferenceData(await readJsonRows('preferences.jsonl'), chat, { length: 512, batchSize: 8 })
 * for (const warning of data.report.warnings) console.warn(warning)
 * ```
 */
export function preferenceData(
  rows: readonly unknown[],
  chat: LanguageModel,
  options: PreferenceDataOptions = {},
): PreferenceData {
  return toPreferenceData(encodePairs(rows, chat), chat, options)
}

/** Encodes all rows. Throws `invalid-data` if one has no two answers that differ, or if there are none. */
export function encodePairs(rows: readonly unknown[], chat: LanguageModel): AnswerPair[] {
  if (rows.length === 0)
    throw new OnnxIreError('invalid-data', 'the data have no rows: write one JSON object per pair of answers')
  return rows.map((value, i) => encodePair(value, i + 1, chat))
}

function encodePair(value: unknown, row: number, chat: LanguageModel): AnswerPair {
  const parsed = parseChatRow(selectPair(value), row)
  if (parsed.kind !== 'completion' || parsed.rejected === undefined)
    throw new OnnxIreError('invalid-data', `row ${row} has no pair of answers: it needs prompt, chosen and rejected`)
  const { rejected: other, ...chosenRow } = parsed
  const chosen = encodeParsed(chosenRow, row, chat, 'assistant')
  const rejected = encodeParsed({ ...chosenRow, completion: other }, row, chat, 'assistant')
  for (const [name, { counted }] of Object.entries({ chosen, rejected }))
    if (!counted.includes(true))
      throw new OnnxIreError('invalid-data', `row ${row}: ${name} has no answer of the assistant`)
  if (chosen.tokens.join() === rejected.tokens.join())
    throw new OnnxIreError('invalid-data', `row ${row}: chosen and rejected are the same: remove the row`)
  return { chosen, rejected }
}

const answersOf = ({ chosen, rejected }: AnswerPair): readonly [TokenExample, TokenExample] => [chosen, rejected]

/** Creates data of encoded pairs; see `preferenceData`. */
export function toPreferenceData(
  encoded: readonly AnswerPair[],
  chat: LanguageModel,
  options: PreferenceDataOptions,
): PreferenceData {
  checkNames('preferenceData', options, ['length', 'batchSize', 'seed'])
  const { batchSize = 8, seed = 0 } = options
  const length = lengthOf('preferenceData', options.length, chat)
  checkNumber('preferenceData', 'batchSize', batchSize, positiveCount)
  checkNumber('preferenceData', 'seed', seed, count)
  const kept = encoded
    .map(({ chosen, rejected }) => ({ chosen: cutExample(chosen, length), rejected: cutExample(rejected, length) }))
    .filter((pair) => answersOf(pair).every(({ counted }) => counted.includes(true)))
  if (kept.length === 0)
    throw new OnnxIreError(
      'invalid-data',
      `all answers begin after ${length} tokens, so no pair could be compared: raise the option length`,
    )
  checkContext('preferenceData', length, kept.flatMap(answersOf), chat)
  checkVocabulary(kept.flatMap(answersOf), chat)
  const report = createReport(encoded, kept, length)
  const sizes = kept.map((pair) => Math.max(...answersOf(pair).map(({ tokens }) => tokens.length)))
  const create = (pairs: readonly AnswerPair[], source?: string): PreferenceData => {
    const load = (indices: readonly number[]) =>
      toTensors(
        indices.map((i) => pairs[i]!),
        chat,
      )
    return {
      length: pairs.length,
      shuffleBuffer: 1, // the order of `examples` is random already
      pairs,
      report,
      // An example is the index of its pair: rows of one length are made of the pairs of a batch.
      *examples(epoch) {
        for (const i of orderByLength(sizes, batchSize, new Random(seed).stream(`pairs ${epoch}`)))
          yield { pair: BigInt(i) }
      },
      collate: (examples) => load(examples.map(({ pair }) => Number(pair))),
      sizes,
      load,
      withReference: (sums, source = checksum([Float64Array.from(sums.flat())])) =>
        create(
          pairs.map((pair, i) => ({ ...pair, reference: sums[i]! })),
          source,
        ),
      checksum: () =>
        checksum([
          ...pairs
            .flatMap(answersOf)
            .flatMap(({ tokens, counted }) => [Int32Array.from(tokens), Uint8Array.from(counted, Number)]),
          JSON.stringify({ batchSize, seed }),
          ...(source === undefined ? [] : [source]),
        ]),
    }
  }
  return create(kept)
}

function createReport(encoded: readonly AnswerPair[], kept: readonly AnswerPair[], length: number): ChatDataReport {
  const all = encoded.flatMap(answersOf)
  const texts = kept.flatMap(answersOf)
  const longest = all.reduce((most, { tokens }) => Math.max(most, tokens.length), 0)
  const cut = all.filter(({ tokens }) => tokens.length > length).length
  const leftOut = encoded.length - kept.length
  return {
    rows: kept.length,
    examples: kept.length,
    tokens: texts.reduce((total, { tokens }) => total + tokens.length, 0),
    counted: texts.reduce((total, { counted }) => total + counted.filter((each) => each).length, 0),
    longest,
    cut,
    leftOut,
    preferences: 0,
    warnings: [
      ...(cut > 0
        ? [
            `${cut} of ${all.length} texts are longer than ${length} tokens and are cut at their end; the longest has ${longest}`,
          ]
        : []),
      ...(leftOut > 0
        ? [`${leftOut} of ${encoded.length} pairs are left out, because an answer begins after the cut`]
        : []),
    ],
  }
}

/** The tensors of pairs: [pairs, 2, length], padded at their end to the longest text. */
function toTensors(pairs: readonly AnswerPair[], chat: LanguageModel): Tensors {
  const texts = pairs.flatMap(answersOf)
  const longest = texts.reduce((most, { tokens }) => Math.max(most, tokens.length), 1)
  const length = Math.min(Math.ceil(longest / lengthStep) * lengthStep, contextLengthOf(chat))
  const fill = (padding: number, of: (text: TokenExample, i: number) => number) =>
    int64(
      [pairs.length, 2, length],
      texts.flatMap((text) => Array.from({ length }, (_, i) => (i < text.tokens.length ? of(text, i) : padding))),
    )
  const references = pairs.flatMap(({ reference }) => reference ?? [])
  return {
    [`${pairPrefix}input_ids`]: fill(chat.padToken, ({ tokens }, i) => tokens[i]!),
    [`${pairPrefix}attention_mask`]: fill(0, () => 1),
    [`${pairPrefix}position_ids`]: fill(0, (_, i) => i),
    labels: fill(ignoredLabel, ({ tokens, counted }, i) => (counted[i + 1] ? tokens[i + 1]! : ignoredLabel)),
    ...(references.length > 0 && { [referenceName]: tensorFrom('float32', [pairs.length, 2], references) }),
  }
}

/** Options of `addReference`. */
export interface ReferenceOptions {
  /** Runtime that runs the model. */
  readonly runtime: Runtime
  /** Number of pairs that are computed at once. Default 4. */
  readonly batchSize?: number | undefined
  /** Called after every batch with the number of pairs so far. */
  readonly onPairs?: ((pairs: number) => void) | undefined
  /** Ends the computation after the current batch once it is aborted; the data are then without reference. */
  readonly signal?: { readonly aborted: boolean } | undefined
}

/**
 * Computes the log-probabilities of all answers under a reference model, once, for `dpo`: the model of the file, which
 * is the trained model with its adapter switched off.
 * @param model as in the file, without `trainingModel`
 * @throws OnnxIreError `invalid-option`, `invalid-model`, `runtime`
 * @example
 * ```ts
 * const data = await addReference(preferenceData(rows, chat), chat.model, { runtime })
 * ```
 */
export async function addReference(
  data: PreferenceData,
  model: Model,
  { runtime, batchSize = 4, onPairs, signal }: ReferenceOptions,
): Promise<PreferenceData> {
  checkNumber('addReference', 'batchSize', batchSize, positiveCount)
  // With the arithmetic of training graphs, so that an adapter that changes nothing has the same log-probabilities.
  const { inputs, outputs } = prepareForTraining(importGraph(trainingModel(model, { pairs: true })), {}).graph
  const { labels, sums } = findPairs('addReference', outputs, 'auto')
  const fed = new Map([...inputs, [labels.name!, labels] as const])
  const program = await compileGraph(runtime, {
    name: 'reference',
    inputs: fed,
    outputs: new Map([['sums', op.Neg(sums)]]),
  })
  const results: (readonly [number, number])[] = []
  const order = data.sizes.map((_, i) => i).sort((a, b) => data.sizes[a]! - data.sizes[b]!)
  try {
    for (let start = 0; start < order.length; start += batchSize) {
      const indices = order.slice(start, start + batchSize)
      const tensors = data.load(indices)
      const feeds = Object.fromEntries(program.inputNames.map((name) => [name, tensors[name]!]))
      const found = numbersOf((await program.run(feeds))['sums']!)
      for (const [k, i] of indices.entries()) results[i] = [found[2 * k]!, found[2 * k + 1]!]
      if (signal?.aborted) return data
      onPairs?.(Math.min(start + batchSize, order.length))
    }
  } finally {
    await program.release()
  }
  // Sums differ in their last bits between devices and numbers of threads.
  return data.withReference(results, checksum([JSON.stringify(checksumModel(model, () => false))]))
}
