import { type ChatData, cutExample, encodeRows, lengthOf, toChatData } from '../../language/chat-data.js'
import { type ChatMessage, parseChatRow, selectPair } from '../../language/chat-rows.js'
import type { TokenExample } from '../../language/encode-chat.js'
import type { LanguageModel } from '../../language/language-model.js'
import { encodePairs, type PreferenceData, toPreferenceData } from '../../language/preference-data.js'
import { OnnxIreError } from '../../util/errors.js'
import { Random } from '../../util/random.js'
import { readDataRows } from '../inputs/text-rows.js'

/** Ways of learning: from answers (supervised fine-tuning), or from pairs of a chosen and a rejected answer. */
export const tuningMethods = ['sft', 'dpo', 'orpo'] as const
export type TuningMethod = (typeof tuningMethods)[number]

/** Options about the data of a fine-tuning of a chat model. */
export interface ChatTuningDataRequest {
  readonly data: string
  /** Default: 'dpo' if every row has a rejected answer, otherwise 'sft'. */
  readonly method?: TuningMethod
  /** Default: that of `chatData`. */
  readonly length?: number
  /** Tokens that 'sft' learns. */
  readonly loss: 'assistant' | 'all'
  /** Whether several examples of 'sft' share a row. */
  readonly pack?: true
  readonly batchSize: number
  /** Share of the rows that is held out. */
  readonly validation: number
  /** Number of prompts. */
  readonly samples: number
  readonly seed: number
}

/** Data of a fine-tuning of a chat model. */
export interface ChatTuningData {
  readonly method: TuningMethod
  readonly train: ChatData | PreferenceData
  readonly validation: ChatData | PreferenceData | undefined
  /** Rows held out for validation. */
  readonly heldOut: number
  /** Conversations up to an answer, to compare the answers before and after. */
  readonly prompts: readonly (readonly ChatMessage[])[]
  readonly warnings: readonly string[]
}

/** Reads and encodes data, and holds out a random share. Throws `invalid-data` naming the row; `invalid-option`. */
export async function readChatTuningData(request: ChatTuningDataRequest, chat: LanguageModel): Promise<ChatTuningData> {
  const rows = await readDataRows(request.data)
  const { loss, batchSize, seed } = request
  const length = lengthOf('tune chat', request.length, chat)
  const heldOut = Math.min(Math.round(request.validation * rows.length), rows.length - 1)
  const order = Array.from(new Random(seed).stream('validation').permutation(rows.length))
  const [held, kept] = [order.slice(0, heldOut), order.slice(heldOut).sort((a, b) => a - b)]
  const pick = <T>(of: readonly T[], numbers: readonly number[]) => numbers.map((i) => of[i]!)
  const method = request.method ?? findMethod(rows)
  checkLearned(method, loss)
  if (method !== 'sft' && request.pack)
    throw new OnnxIreError('invalid-option', `--pack is for --method sft; pairs of ${method} are not packed`)
  const hasAnswer = (example: TokenExample) => cutExample(example, length).counted.includes(true)
  const split = <T, D extends ChatData | PreferenceData>(
    encoded: readonly T[],
    isUsed: (example: T) => boolean,
    create: (of: readonly T[]) => D,
  ) => {
    const [train, apart] = [create(pick(encoded, kept)), pick(encoded, held)]
    const validation = apart.some(isUsed) ? create(apart) : undefined
    const warnings =
      validation || heldOut === 0
        ? []
        : [`nothing is measured, because the answers of all held-out rows begin after ${length} tokens: raise --length`]
    return { train, validation, warnings: [...train.report.warnings, ...warnings] }
  }
  const options = { length, batchSize, seed }
  return {
    method,
    heldOut,
    prompts: findPrompts(pick(rows, heldOut > 0 ? held : kept), request.samples, method),
    ...(method === 'sft'
      ? split(encodeRows(rows, chat, loss), hasAnswer, (of) =>
          toChatData(of, chat, { ...options, loss, pack: request.pack }),
        )
      : split(
          encodePairs(rows, chat),
          ({ chosen, rejected }) => hasAnswer(chosen) && hasAnswer(rejected),
          (of) => toPreferenceData(of, chat, options),
        )),
  }
}

/** Throws `invalid-option` if all tokens are to be learned by a method that compares answers. */
export function checkLearned(method: TuningMethod, loss: ChatTuningDataRequest['loss']): void {
  if (method !== 'sft' && loss === 'all')
    throw new OnnxIreError('invalid-option', `--loss all is for --method sft; ${method} compares answers: omit --loss`)
}

/** The method that fits all rows. Throws `invalid-data` if only some have a rejected answer. */
export function findMethod(rows: readonly unknown[]): TuningMethod {
  const isPair = rows.map((row, i) => {
    const parsed = parseChatRow(selectPair(row), i + 1)
    return parsed.kind === 'completion' && parsed.rejected !== undefined
  })
  const pairs = isPair.filter((each) => each).length
  if (pairs === 0) return 'sft'
  if (pairs === rows.length) return 'dpo'
  throw new OnnxIreError(
    'invalid-data',
    `${pairs} of ${rows.length} rows have a rejected answer (row ${isPair.indexOf(true) + 1}), the others do not (row ${isPair.indexOf(false) + 1}): ` +
      'learn only the chosen ones with --method sft, or give every row prompt, chosen and rejected',
  )
}

/** The conversations of some rows up to the last answer. */
function findPrompts(rows: readonly unknown[], count: number, method: TuningMethod): ChatMessage[][] {
  const prompts: ChatMessage[][] = []
  for (const [i, row] of rows.entries()) {
    if (prompts.length === count) break
    const parsed = parseChatRow(method === 'sft' ? row : selectPair(row), i + 1)
    if (parsed.kind === 'messages') {
      const last = parsed.messages.findLastIndex(({ role }) => role === 'assistant')
      if (last > 0) prompts.push(parsed.messages.slice(0, last))
    } else if (parsed.kind === 'completion') {
      const { prompt, completion } = parsed
      if (typeof prompt !== 'string') prompts.push([...prompt])
      else if (typeof completion !== 'string') prompts.push([{ role: 'user', content: prompt }])
    }
  }
  return prompts
}
