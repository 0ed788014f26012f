import { Template } from '@huggingface/jinja'
import { OnnxIreError } from '../util/errors.js'
import type { ChatMessage } from './chat-rows.js'

/** Characters that Unicode reserves for use within programs; they mark the answers in a rendered text. */
const [startMark, endMark] = ['\uFDD0', '\uFDD1']
const marks = /[\uFDD0\uFDD1]/g

/** The tags that mark answers for transformers, with the white space around them. */
const generationTag = /(\s*)\{%(-?)\s*(end)?generation\s*(-?)%\}(\s*)/g

/** Part of a text: characters from `start` up to, but excluding, `end`. */
export interface TextSpan {
  readonly start: number
  readonly end: number
}

/** A rendered conversation, with its answers. */
export interface RenderedChat {
  readonly text: string
  readonly answers: readonly TextSpan[]
}

/** Values that a template reads besides the messages. */
export interface ChatTemplateContext {
  /** Special tokens by name, such as `bos_token`. */
  readonly specialTokens: Readonly<Record<string, string>>
  /** Texts that end a turn, such as `<|im_end|>`. */
  readonly turnEnds: readonly string[]
}

/** Chat template of a language model: conversations to text, in Jinja. */
export class ChatTemplate {
  readonly #plain: Template
  /** The template with marks in place of its generation tags; null if it has none. */
  readonly #marked: Template | null
  readonly #context: ChatTemplateContext

  /** @throws OnnxIreError `invalid-model` if the template is not valid Jinja */
  constructor(source: string, context: ChatTemplateContext) {
    try {
      this.#plain = new Template(source)
      const marked = source.replace(
        generationTag,
        (_, before: string, left: string, end: string | undefined, right: string, after: string) =>
          // White space around a tag is removed as Jinja does with trim_blocks and lstrip_blocks.
          (left ? '' : before.replace(/\n[ \t]*$/, '\n')) +
          (end ? endMark : startMark) +
          (right ? '' : after.replace(/^\n/, '')),
      )
      this.#marked = marked === source ? null : new Template(marked)
    } catch (cause) {
      throw new OnnxIreError('invalid-model', `the chat template is not valid: ${(cause as Error).message}`, { cause })
    }
    this.#context = context
  }

  /**
   * Renders a conversation.
   * @param options `prompt`: whether to end with the start of an answer; `tools`: those that the template describes
   * @throws OnnxIreError `invalid-data` with the reason of the template
   */
  render(
    messages: readonly ChatMessage[],
    options: { readonly prompt?: boolean; readonly tools?: unknown } = {},
  ): string {
    return this.#render(this.#plain, messages, options)
  }

  /**
   * Renders a conversation and finds the answers of the assistant, each with the token that ends its turn: by the
   * template's generation tags; if it has none, by rendering the conversation up to each answer and with it. Answers
   * of weight 0 are left out.
   * @param first index of the first message whose answers are wanted. Default 0
   * @throws OnnxIreError `invalid-data` if the answers cannot be found, because the beginning of a conversation is
   *   rendered differently when it goes on
   */
  renderAnswers(messages: readonly ChatMessage[], tools: unknown, first = 0): RenderedChat {
    const text = this.render(messages, { tools })
    const turns = [...messages.keys()].filter((i) => messages[i]!.role === 'assistant')
    const spans =
      this.#findMarked(messages, text, turns.length, tools) ??
      turns.map((i) => this.#findByPrefix(messages, text, i, tools))
    const answers = spans.filter((_, k) => turns[k]! >= first && messages[turns[k]!]!.weight !== 0)
    return { text, answers }
  }

  #render(
    template: Template,
    messages: readonly ChatMessage[],
    { prompt = false, tools }: { readonly prompt?: boolean; readonly tools?: unknown },
  ): string {
    const context = {
      ...this.#context.specialTokens,
      messages,
      add_generation_prompt: prompt,
      // As in transformers: templates distinguish none from undefined.
      tools: tools ?? null,
      documents: null,
    }
    try {
      return template.render(context)
    } catch (cause) {
      throw new OnnxIreError('invalid-data', `the chat template refuses the messages: ${(cause as Error).message}`, {
        cause,
      })
    }
  }

  /** Finds answers by marks; null if the template has none, or not one pair for every answer. */
  #findMarked(messages: readonly ChatMessage[], text: string, count: number, tools: unknown): TextSpan[] | null {
    if (!this.#marked || text.search(marks) >= 0) return null
    const marked = this.#render(this.#marked, messages, { tools })
    if (marked.replace(marks, '') !== text) return null
    const spans: TextSpan[] = []
    let [removed, start] = [0, -1]
    for (const { 0: mark, index } of marked.matchAll(marks)) {
      const at = index - removed++
      if ((mark === startMark) === start >= 0) return null
      if (mark === startMark) start = at
      else {
        spans.push({ start, end: this.#endOfTurn(text, start, at) })
        start = -1
      }
    }
    return spans.length === count ? spans : null
  }

  /** The end of an answer, with the token that ends the turn and without white space after it. */
  #endOfTurn(text: string, start: number, end: number): number {
    const { turnEnds } = this.#context
    const answer = text.slice(start, end)
    const trimmed = answer.trimEnd()
    if (turnEnds.some((token) => trimmed.endsWith(token))) return start + trimmed.length
    const next = turnEnds.find((token) => text.startsWith(token, end))
    return next === undefined ? end : end + next.length
  }

  #findByPrefix(messages: readonly ChatMessage[], text: string, i: number, tools: unknown): TextSpan {
    const before = this.render(messages.slice(0, i), { prompt: true, tools })
    const after = this.render(messages.slice(0, i + 1), { tools })
    if (!text.startsWith(before) || !text.startsWith(after) || after.length <= before.length) {
      const what = text.startsWith(before) ? after : before
      let same = 0
      while (what[same] === text[same]) same++
      throw new OnnxIreError(
        'invalid-data',
        `messages[${i}]: the chat template renders the beginning of the conversation differently when it goes on (${JSON.stringify(what.slice(same, same + 20))} becomes ${JSON.stringify(text.slice(same, same + 20))}), so the answers cannot be found: put {% generation %} and {% endgeneration %} around the answer in the template, end conversations with this answer, or learn all tokens with loss: 'all'`,
      )
    }
    return { start: before.length, end: this.#endOfTurn(text, before.length, after.length) }
  }
}
