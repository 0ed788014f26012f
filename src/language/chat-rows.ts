import { OnnxIreError } from '../util/errors.js'
import { getOwn, isObject } from '../util/record.js'

/** A message of a conversation. Further fields, such as `tool_calls`, are passed to the chat template. */
export interface ChatMessage {
  /** 'system', 'developer', 'user', 'assistant' or 'tool'. */
  readonly role: string
  readonly content: string
  /** 0: an answer that is shown to the model, but not learned. Default 1. */
  readonly weight?: number
  readonly [field: string]: unknown
}

/** A row of chat data in one form, whatever the file has. */
export type ChatRow =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'messages'; readonly messages: readonly ChatMessage[]; readonly tools?: unknown }
  | {
      /** Only the completion is learned: text, or messages that follow those of the prompt. */
      readonly kind: 'completion'
      readonly prompt: string | readonly ChatMessage[]
      readonly completion: string | readonly ChatMessage[]
      /** A worse answer, of preference data. */
      readonly rejected?: string | readonly ChatMessage[]
      readonly tools?: unknown
    }

/** Whether a row has a chosen and a rejected answer, beside whatever other fields. */
export const hasPair = (value: unknown): boolean =>
  isObject(value) && ['chosen', 'rejected'].every((name) => (getOwn(value, name) ?? null) !== null)

/**
 * The fields of a pair of answers, without those of another form beside them, such as messages. ShareGPT's answers are
 * single messages, and continue the conversations.
 */
export function selectPair(value: unknown): unknown {
  if (!isObject(value) || !hasPair(value)) return value
  const [prompt, chosen, rejected, tools] = ['prompt', 'chosen', 'rejected', 'tools'].map((name) => getOwn(value, name))
  if (!isObject(chosen) || !isObject(rejected)) return { prompt, chosen, rejected, tools }
  return { prompt: prompt ?? shareGptTurns(value), chosen: [chosen], rejected: [rejected], tools }
}

const roles: ReadonlySet<string> = new Set(['system', 'developer', 'user', 'assistant', 'tool'])

/** Names of roles in ShareGPT's field `from`. */
const shareGptRoles: Readonly<Record<string, string>> = {
  ...{ human: 'user', user: 'user', gpt: 'assistant', assistant: 'assistant', chatgpt: 'assistant', bot: 'assistant' },
  ...{ system: 'system', tool: 'tool', observation: 'tool', function_response: 'tool' },
}

/**
 * Reads a row of chat data: `{text}`, `{messages}`, `{prompt, completion}`, `{prompt, chosen, rejected}`, ShareGPT's
 * `{conversations: [{from, value}]}` or Alpaca's `{instruction, input, output}`.
 * @param row number of the row, from 1, for messages
 * @throws OnnxIreError `invalid-data` naming row and field
 */
export function parseChatRow(value: unknown, row: number): ChatRow {
  const at = `row ${row}`
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new OnnxIreError('invalid-data', `${at} is not a JSON object, such as {"messages": [...]}`)
  const fields = value as Readonly<Record<string, unknown>>
  const has = (...names: string[]) => names.every((name) => getOwn(fields, name) !== undefined)
  const tools = has('tools') ? { tools: getOwn(fields, 'tools') } : {}
  if (has('messages'))
    return { kind: 'messages', messages: parseMessages(getOwn(fields, 'messages'), `${at}: messages`), ...tools }
  if (has('conversations'))
    return { kind: 'messages', messages: parseMessages(shareGptTurns(fields), `${at}: conversations`), ...tools }
  const turns = (name: string) => parseTurns(getOwn(fields, name), `${at}: ${name}`)
  if (has('prompt', 'completion'))
    return { kind: 'completion', prompt: turns('prompt'), completion: turns('completion'), ...tools }
  if (has('chosen', 'rejected')) return parsePreference(fields, at, tools)
  if (has('instruction', 'output')) return parseAlpaca(fields, at)
  if (has('text')) return { kind: 'text', text: parseText(getOwn(fields, 'text'), `${at}: text`) }
  throw new OnnxIreError(
    'invalid-data',
    `${at} has the fields ${Object.keys(fields).join(', ') || '(none)'}; it needs messages, text, prompt and completion, prompt with chosen and rejected, conversations, or instruction and output`,
  )
}

function parseMessages(value: unknown, at: string): ChatMessage[] {
  if (!Array.isArray(value) || value.length === 0)
    throw new OnnxIreError('invalid-data', `${at} must be a list of at least one {role, content}`)
  return value.map((each: unknown, i) => parseMessage(each, `${at}[${i}]`))
}

function parseMessage(value: unknown, at: string): ChatMessage {
  if (typeof value !== 'object' || value === null)
    throw new OnnxIreError('invalid-data', `${at} must be an object with role and content`)
  const fields = value as Readonly<Record<string, unknown>>
  const role = getOwn(fields, 'role')
  if (role === undefined && getOwn(fields, 'from') !== undefined) return parseShareGptTurn(fields, at)
  if (typeof role !== 'string' || !roles.has(role)) throw unknownRole(`${at}.role`, role, [...roles])
  const weight = getOwn(fields, 'weight')
  if (weight !== undefined && weight !== 0 && weight !== 1)
    throw new OnnxIreError('invalid-data', `${at}.weight is ${JSON.stringify(weight)}; it must be 0 or 1`)
  return { ...fields, role, content: parseContent(fields, `${at}.content`) }
}

/** Text, or a list of parts that are text; a call of tools may have no content. */
function parseContent(fields: Readonly<Record<string, unknown>>, at: string): string {
  const content = getOwn(fields, 'content')
  if (typeof content === 'string') return content
  if ((content === null || content === undefined) && getOwn(fields, 'tool_calls')) return ''
  if (Array.isArray(content))
    return content
      .map((part: unknown, i) => {
        const text = typeof part === 'object' && part !== null ? getOwn(part as Record<string, unknown>, 'text') : part
        if (typeof text === 'string') return text
        throw new OnnxIreError('invalid-data', `${at}[${i}] is not text; images and audio are not supported`)
      })
      .join('')
  throw new OnnxIreError('invalid-data', `${at} must be text`)
}

const unknownRole = (at: string, role: unknown, allowed: readonly string[]) =>
  new OnnxIreError('invalid-data', `${at} is ${JSON.stringify(role) ?? 'missing'}; it must be ${allowed.join(', ')}`)

/** The turns of `conversations`, after the system prompt that may be beside them. */
function shareGptTurns(fields: Readonly<Record<string, unknown>>): unknown {
  const [turns, system] = [getOwn(fields, 'conversations'), getOwn(fields, 'system')]
  if (!Array.isArray(turns) || typeof system !== 'string' || system === '') return turns
  return [{ from: 'system', value: system }, ...turns]
}

function parseShareGptTurn(fields: Readonly<Record<string, unknown>>, at: string): ChatMessage {
  const from = getOwn(fields, 'from')
  const role = typeof from === 'string' ? getOwn(shareGptRoles, from) : undefined
  if (role === undefined) throw unknownRole(`${at}.from`, from, Object.keys(shareGptRoles))
  return { role, content: parseText(getOwn(fields, 'value'), `${at}.value`) }
}

function parseAlpaca(fields: Readonly<Record<string, unknown>>, at: string): ChatRow {
  const text = (name: string) => parseText(getOwn(fields, name) ?? '', `${at}: ${name}`)
  const [instruction, given, system] = [text('instruction'), text('input'), text('system')]
  const content = given === '' ? instruction : `${instruction}\n\n${given}`
  const before = system === '' ? [] : [{ role: 'system', content: system }]
  return {
    kind: 'messages',
    messages: [...before, { role: 'user', content }, { role: 'assistant', content: text('output') }],
  }
}

/** Preference data, whose prompt may be the common start of both conversations. */
function parsePreference(fields: Readonly<Record<string, unknown>>, at: string, tools: { tools?: unknown }): ChatRow {
  const names = ['chosen', 'rejected', 'prompt'] as const
  const given = names.map((name) => {
    const value = getOwn(fields, name)
    return value === undefined ? undefined : parseTurns(value, `${at}: ${name}`)
  })
  // Both answers are text, or both are messages.
  const isMixed = given[2] !== undefined && (typeof given[0] === 'string') !== (typeof given[1] === 'string')
  const [chosen, rejected, prompt] = given.map((turns, i) =>
    isMixed && typeof turns === 'string' ? [{ role: i === 2 ? 'user' : 'assistant', content: turns }] : turns,
  )
  const common = typeof chosen === 'string' || typeof rejected === 'string' ? [] : findCommon(chosen!, rejected!)
  // Some data sets repeat the prompt in the answers, also a text as a message of the user.
  const isRepeated = common.some(({ role, content }) => role === 'user' && content === prompt)
  if (prompt !== undefined && !isRepeated) {
    const rest = (turns: string | readonly ChatMessage[]) =>
      typeof turns !== 'string' && typeof prompt !== 'string' && startsWith(turns, prompt)
        ? turns.slice(prompt.length)
        : turns
    return { kind: 'completion', prompt, completion: rest(chosen!), rejected: rest(rejected!), ...tools }
  }
  if (typeof chosen === 'string' || typeof rejected === 'string')
    throw new OnnxIreError('invalid-data', `${at} has chosen and rejected, but no prompt`)
  return {
    kind: 'completion',
    prompt: common,
    completion: chosen!.slice(common.length),
    rejected: rejected!.slice(common.length),
    ...tools,
  }
}

/** The common start of two conversations, without the last message of the first one. */
function findCommon(chosen: readonly ChatMessage[], rejected: readonly ChatMessage[]): readonly ChatMessage[] {
  let length = 0
  while (length < chosen.length - 1 && sameTurn(chosen[length]!, rejected[length])) length++
  return chosen.slice(0, length)
}

const sameTurn = (a: ChatMessage, b: ChatMessage | undefined): boolean => a.role === b?.role && a.content === b.content

const startsWith = (turns: readonly ChatMessage[], start: readonly ChatMessage[]): boolean =>
  turns.length > start.length && start.every((turn, i) => sameTurn(turn, turns[i]))

function parseTurns(value: unknown, at: string): string | ChatMessage[] {
  if (typeof value === 'string') return value
  if (Array.isArray(value)) return parseMessages(value, at)
  throw new OnnxIreError('invalid-data', `${at} must be text, or a list of at least one {role, content}`)
}

function parseText(value: unknown, at: string): string {
  if (typeof value === 'string') return value
  throw new OnnxIreError('invalid-data', `${at} must be text`)
}
