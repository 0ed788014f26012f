import type { Tokenizer } from '../data/tokenize/tokenizer.js'
import { OnnxIreError, prefixError } from '../util/errors.js'
import { type ChatMessage, type ChatRow, hasPair, parseChatRow } from './chat-rows.js'
import { ChatTemplate, type RenderedChat, type TextSpan } from './chat-template.js'
import type { LanguageModel } from './language-model.js'

/** Tokens of an example, and which of them the loss counts. */
export interface TokenExample {
  /** Number of the row, from 1. */
  readonly row: number
  readonly tokens: readonly number[]
  /** Whether the model learns to produce the token, for every token. */
  readonly counted: readonly boolean[]
  /** Whether the row has a rejected answer, which is not encoded. */
  readonly preference: boolean
}

/** The parts of a language model that `encodeChat` reads. */
export type ChatEncoder = Pick<LanguageModel, 'tokenizer' | 'chatTemplate' | 'specialTokens' | 'endTokens'>

const templates = new WeakMap<ChatEncoder, ChatTemplate>()

/** The template of a model, parsed once. Throws `invalid-model` if the model has none. */
export function chatTemplateOf(model: ChatEncoder): ChatTemplate {
  const template = templates.get(model) ?? createTemplate(model)
  templates.set(model, template)
  return template
}

function createTemplate({ chatTemplate, specialTokens, endTokens, tokenizer }: ChatEncoder): ChatTemplate {
  if (chatTemplate === null)
    throw new OnnxIreError(
      'invalid-model',
      'the folder has no chat template, neither chat_template.jinja nor chat_template in tokenizer_config.json: take an instruction-tuned model, or data of the form {text}',
    )
  const turnEnds = [specialTokens['eos_token'] ?? '', ...endTokens.map((token) => tokenizer.decode([token]))]
  return new ChatTemplate(chatTemplate, { specialTokens, turnEnds: turnEnds.filter((text) => text !== '') })
}

/**
 * Encodes a row of chat data. The loss counts the answers of the assistant with the token that ends each turn, or the
 * completion; every token of plain text but the first; with `loss: 'all'` every token but the first of any row.
 * @param value a row in any form that `parseChatRow` reads
 * @param row number of the row, from 1
 * @throws OnnxIreError `invalid-data` naming the row; `invalid-model` for messages without a chat template
 */
export function encodeChat(
  value: unknown,
  row: number,
  model: ChatEncoder,
  options: { readonly loss?: 'assistant' | 'all' | undefined } = {},
): TokenExample {
  return {
    ...encodeParsed(parseChatRow(value, row), row, model, options.loss ?? 'assistant'),
    preference: hasPair(value),
  }
}

/** Encodes a parsed row; see `encodeChat`. */
export function encodeParsed(
  parsed: ChatRow,
  row: number,
  model: ChatEncoder,
  loss: 'assistant' | 'all',
): TokenExample {
  try {
    const preference = parsed.kind === 'completion' && parsed.rejected !== undefined
    return { row, preference, ...encodeRow(parsed, model, loss) }
  } catch (cause) {
    throw prefixError(cause, `row ${row}`, 'invalid-data')
  }
}

type Encoded = Pick<TokenExample, 'tokens' | 'counted'>

function encodeRow(row: ChatRow, model: ChatEncoder, loss: 'assistant' | 'all'): Encoded {
  const { text, answers } = renderRow(row, model, loss)
  const encoded = encodeSpans(text, answers, model.tokenizer, isPlain(row))
  if (loss === 'assistant' && row.kind !== 'text') return encoded
  return { tokens: encoded.tokens, counted: encoded.tokens.map((_, i) => i > 0) }
}

/** Whether a row is text without a chat template. */
const isPlain = (row: ChatRow): boolean =>
  row.kind === 'text' ||
  (row.kind === 'completion' && typeof row.prompt === 'string' && typeof row.completion === 'string')

/** The text of a row; plain text gets the token that ends a text. */
function renderRow(row: ChatRow, model: ChatEncoder, loss: 'assistant' | 'all'): RenderedChat {
  const end = model.specialTokens['eos_token'] ?? ''
  if (row.kind === 'text') return { text: row.text + end, answers: [] }
  if (row.kind === 'messages') return renderMessages(row.messages, 0, row.tools, model, loss)
  const { prompt, completion } = row
  if (typeof prompt === 'string' && typeof completion === 'string') {
    const text = prompt + completion + end
    return { text, answers: [{ start: prompt.length, end: text.length }] }
  }
  const before: readonly ChatMessage[] = typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt
  const after: readonly ChatMessage[] =
    typeof completion === 'string' ? [{ role: 'assistant', content: completion }] : completion
  return renderMessages([...before, ...after], before.length, row.tools, model, loss)
}

function renderMessages(
  messages: readonly ChatMessage[],
  first: number,
  tools: unknown,
  model: ChatEncoder,
  loss: 'assistant' | 'all',
): RenderedChat {
  const template = chatTemplateOf(model)
  return loss === 'all'
    ? { text: template.render(messages, { tools }), answers: [] }
    : template.renderAnswers(messages, tools, first)
}

/**
 * Encodes a text, with the tokens of some of its spans counted. If a token of the text extends over a border of a span,
 * the text is encoded in parts, as it is when the model is prompted.
 * @param around whether the tokenizer adds its tokens around the text; a chat template has written them already
 */
function encodeSpans(text: string, spans: readonly TextSpan[], tokenizer: Tokenizer, around: boolean): Encoded {
  const borders = [...new Set(spans.flatMap(({ start, end }) => [start, end]))].filter((at) => at < text.length)
  const whole = tokenizer.encode(text, { around })
  const positions = borders.map((border) => {
    const before = border === 0 ? [] : tokenizer.encode(text.slice(0, border), { around })
    return before.every((token, i) => token === whole[i]) ? before.length : null
  })
  const { tokens, starts } = positions.includes(null)
    ? encodeParts(text, borders, whole, tokenizer, around)
    : { tokens: whole, starts: positions as number[] }
  const positionOf = new Map(borders.map((border, i) => [border, starts[i]!]))
  const counted = tokens.map(() => false)
  for (const { start, end } of spans) counted.fill(true, positionOf.get(start), positionOf.get(end) ?? tokens.length)
  if (counted[0]) counted[0] = false // no token precedes the first
  return { tokens, counted }
}

function encodeParts(
  text: string,
  borders: readonly number[],
  whole: readonly number[],
  tokenizer: Tokenizer,
  around: boolean,
): { readonly tokens: readonly number[]; readonly starts: readonly number[] } {
  const tokens: number[] = []
  const starts: number[] = []
  for (const [i, start] of [0, ...borders].entries()) {
    if (i > 0) starts.push(tokens.length)
    const part = text.slice(start, borders[i])
    if (part !== '') for (const token of tokenizer.encode(part, { around: around && i === 0 })) tokens.push(token)
  }
  if (tokenizer.decode(tokens) === tokenizer.decode(whole)) return { tokens, starts }
  throw new OnnxIreError(
    'invalid-data',
    "the tokenizer joins the start of an answer with the text before it, so the tokens of the answer cannot be separated: learn all tokens with loss: 'all'",
  )
}
