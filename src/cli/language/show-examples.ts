import { chatData } from '../../language/chat-data.js'
import type { TokenExample } from '../../language/encode-chat.js'
import type { LanguageModel } from '../../language/language-model.js'
import { formatNumber } from '../format.js'

/** An example as text, the counted tokens in marks. */
export interface ShownExample {
  readonly row: number
  readonly tokens: number
  readonly counted: number
  /** Text with [[ and ]] around what is learned. */
  readonly text: string
}

/** Encodes rows and shows the first examples. */
export function showExamples(
  rows: readonly unknown[],
  chat: LanguageModel,
  { examples, ...options }: { readonly examples: number; readonly length: number; readonly loss: 'assistant' | 'all' },
) {
  const { examplesOf, report } = chatData(rows, chat, options)
  return { ...report, shown: examplesOf.slice(0, examples).map((example) => mark(example, chat)) }
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
  shown,
  examples,
  tokens,
  counted,
  longest,
  warnings,
}: ReturnType<typeof showExamples>): string {
  return [
    ...shown.map((each) => `row ${each.row}: ${each.tokens} tokens, ${each.counted} learned\n${each.text}\n`),
    `${formatNumber(examples)} examples, ${formatNumber(tokens)} tokens, of which ${formatNumber(counted)} (${((100 * counted) / tokens).toFixed(1)} %) are learned; the longest has ${formatNumber(longest)}`,
    ...warnings.map((warning) => `warning: ${warning}`),
  ].join('\n')
}
