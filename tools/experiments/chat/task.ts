import type { Dataset, Metric } from 'onnx-ire'
import { fromArrays } from 'onnx-ire'
import { Random, Tokenizer, tokenizerJson, trainBpe, WordCounts } from 'onnx-ire/data'
import { op } from 'onnx-ire/graph'
import { type ChatEncoder, encodeChat } from 'onnx-ire/language'

const end = '<|endoftext|>'

/** Marks roles by words that the base has read, because LoRA does not train embeddings of new tokens. */
const template =
  "{% for message in messages %}{% if message.role == 'user' %}User: {{ message.content }}\n" +
  '{% else %}Assistant:{% generation %} {{ message.content }}<|endoftext|>{% endgeneration %}\n{% endif %}{% endfor %}'

/** The tokenizer of the base, with a chat template. */
export type Chat = ChatEncoder & { readonly padToken: number }

/** Learns a byte-level BPE on documents, and adds a chat template. */
export function createChat(documents: readonly string[], vocabulary: number): Chat {
  const words = new WordCounts()
  for (const document of documents) words.add(document)
  const tokenizer = new Tokenizer(tokenizerJson(trainBpe(words, { vocabulary, specialTokens: [end] })))
  const endToken = tokenizer.numberOf(end)!
  return {
    tokenizer,
    chatTemplate: template,
    specialTokens: { eos_token: end },
    endTokens: [endToken],
    padToken: endToken,
  }
}

const places = ['Account', 'Billing', 'Privacy', 'Display', 'Network', 'Sound', 'Storage', 'Help']
const features = [
  ...['dark mode', 'invoices', 'password', 'volume', 'backups', 'two factor login', 'language', 'refunds'],
  ...['wireless', 'free space', 'microphone', 'blocked people', 'contact us', 'screen size', 'payment card', 'proxy'],
  ...['profile picture', 'cookies', 'speakers', 'old files', 'user guide', 'text size', 'receipts', 'email address'],
]

/** Ways to ask; the last ones are not in the training data. */
const questions = [
  (feature: string) => `Where is ${feature}?`,
  (feature: string) => `How do I find ${feature}?`,
  (feature: string) => `I am looking for ${feature}.`,
  (feature: string) => `Please show me ${feature}.`,
  (feature: string) => `I want to change ${feature}.`,
  (feature: string) => `Can you tell me where ${feature} is now?`,
  (feature: string) => `I do not see ${feature}, what do I do?`,
  (feature: string) => `My friend asked about ${feature}.`,
]
/** The questions of each split. */
export const splits = { train: [0, 1, 2, 3, 4], validation: [5], test: [6, 7] } as const
export type Split = keyof typeof splits

/** A question with its answer in two styles. */
export interface Exchange {
  readonly question: string
  readonly short: string
  readonly long: string
}

/** Questions about 24 things, each of which is in one of 8 places: facts that only the data have. */
export function exchanges(split: Split): Exchange[] {
  const order = new Random(0).stream('places').permutation(features.length)
  return splits[split].flatMap((form) =>
    features.map((feature, i) => {
      const place = places[order[i]! % places.length]!
      return {
        question: questions[form]!(feature),
        short: `Open ${place}, then ${feature}.`,
        long: `You will find it in ${place}, as ${feature}.`,
      }
    }),
  )
}

/** A conversation of one question and its answer. */
export const conversation = (question: string, answer: string) => ({
  messages: [
    { role: 'user', content: question },
    { role: 'assistant', content: answer },
  ],
})

/** Label of tokens that the loss does not count. */
export const ignored = -100

/** Rows of chat data as tokens [n, context], padded at the end, and labels: the next token of an answer. */
export function chatRows(rows: readonly object[], chat: Chat, context: number): Dataset {
  const tokens = new BigInt64Array(rows.length * context).fill(BigInt(chat.padToken))
  const labels = new BigInt64Array(rows.length * context).fill(BigInt(ignored))
  for (const [row, value] of rows.entries()) {
    const { tokens: ids, counted } = encodeChat(value, row + 1, chat)
    if (ids.length > context) throw new Error(`row ${row + 1} has ${ids.length} tokens, more than ${context}`)
    for (const [t, id] of ids.entries()) {
      tokens[row * context + t] = BigInt(id)
      if (counted[t + 1]) labels[row * context + t] = BigInt(ids[t + 1]!)
    }
  }
  const dims = [rows.length, context]
  return fromArrays({ tokens: { dtype: 'int64', dims, data: tokens }, labels: { dtype: 'int64', dims, data: labels } })
}

/**
 * Share of answers of which every token is the most probable one: exactly those that greedy generation gives. Reported
 * as `exact`.
 */
export const exactAnswers = (): Metric => ({
  name: 'exact',
  build(comparison) {
    if (comparison.kind !== 'classes' || comparison.mask === null) return null
    const { logits, axis, labels, mask } = comparison
    const isRight = op.Or(op.Equal(op.ArgMax(logits, { axis, keepdims: 0 }), labels), op.Not(mask))
    const rows = op.ReduceMin(op.Cast(isRight, { to: 1 }), [1], { keepdims: 0 })
    return {
      sums: new Map([
        ['right', op.ReduceSum(rows, { keepdims: 0 })],
        ['count', op.Cast(op.Size(rows), { to: 1 })],
      ]),
      measure: ({ right, count }) => ({ exact: right![0]! / count![0]! }),
    }
  },
})
