import { chatData } from '../../language/chat-data.js'
import type { TokenExample } from '../../language/encode-chat.js'
import type { LanguageModel } from '../../language/language-model.js'
import { preferenceData } from '../../language/preference-data.js'
import { formatNumber } from '../format.js'
import { checkLearned, findMethod, type TuningMethod } from './chat-tuning-data.js'

/** An example as text, the counted tokens in marks. */
export interface ShownExample {
  readonly row: number
  /** The answer of a pair that the example has. */
  readonly answer?: 'chosen' | 'rejected'
  readonly tokens: number
  readonly counted: number
  /** Text with [[ and ]] around what is learned, or compared in a pair. */
  readonly text: string
}

/** Options of `showExamples`. */
interface ShowRequest {
  readonly method?: TuningMethod | undefined
  /** Number of examples. */
  readonly examples: number
  readonly length?: number | undefined
  readonly loss: 'assistant' | 'all'
}

/** Encodes rows as `tune chat` does, and shows the first examples. */
export function showExamples(
  rows: readonly unknown[],
  chat: LanguageModel,
  { method = findMethod(rows), examples, length, loss }: ShowRequest,
) {
  checkLearned(method, loss)
  if (method === 'sft') {
    const { examplesOf, report } = chatData(rows, chat, { length, loss })
    return { method, ...report, shown: examplesOf.slice(0, examples).map((example) => mark(example, chat)) }
  }
  const { pairs, report } = preferenceData(rows, chat, { length })
  const shown = pairs.slice(0, examples).flatMap(({ chosen, rejected }): ShownExample[] => [
    { ...mark(chosen, chat), answer: 'chosen' },
    { ...mark(rejected, chat), answer: 'rejected' },
  ])
  return { method, ...report, shown }
}

function mark({ row, tokens, counted }: TokenExample, { tokenizer }: LanguageModel): ShownExample {
  const runs: { readonly counted: boolean; readonly tokens: number[] }[] = []
  for (const [i, token] of tokens.entries()) {
    const last = runs.at(-1)
    if (last?.counted === counted[i]) last!.tokens.push(token)
    else runs.push({ counted: counted[i]!, tokens: [token] })
  }
  const text = runs.map((run) => (run.counted ? `[[${tokenizer.decode(run.tokens)}]]` : tokenizer.decode(run.tokens)))
  return { row, tokens: tokens.length, counted: counted.filter((each) => each).length, text: text.join('') }
}

/** The report as text. */
export function formatShown({
  method,
  shown,
  examples,
  tokens,
  counted,
  longest,
  warnings,
}: ReturnType<typeof showExamples>): string {
  const verb = method === 'sft' ? 'learned' : 'compared'
  return [
    ...shown.map(
      ({ row, answer, tokens, counted, text }) =>
        `row ${row}${answer ? `, ${answer}` : ''}: ${tokens} tokens, ${counted} ${verb}\n${text}\n`,
    ),
    `${formatNumber(examples)} ${method === 'sft' ? 'examples' : 'pairs'}, ${formatNumber(tokens)} tokens, of which ${formatNumber(counted)} (${((100 * counted) / tokens).toFixed(1)} %) are ${verb}; the longest has ${formatNumber(longest)}`,
    ...warnings.map((warning) => `warning: ${warning}`),
  ].join('\n')
}
