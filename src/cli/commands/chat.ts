import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import type { ChatMessage } from '../../language/chat-rows.js'
import { type GeneratedText, type GenerateOptions, TextGenerator } from '../../language/generate.js'
import type { LanguageModel } from '../../language/language-model.js'
import { OnnxIreError } from '../../util/errors.js'
import { concernsPrompt, Reported, refuseOptions } from '../errors.js'
import { formatCount } from '../format.js'
import { dtypeOption, openLanguageModel, withAdapter } from '../inputs/open-language-model.js'
import { type Io, print, writeText } from '../io.js'
import {
  type CliProvider,
  createRuntime,
  jsonOption,
  parseNonNegativeInteger,
  parsePositiveInteger,
  parsePositiveNumber,
  parseThreads,
  providerOption,
} from '../options.js'

interface Options {
  readonly dtype?: string
  readonly adapter?: string
  readonly anyBase?: true
  readonly compare?: true
  readonly message?: readonly string[]
  readonly system?: string
  readonly maxTokens: number
  readonly temperature?: number
  readonly topP?: number
  readonly topK?: number
  readonly seed: number
  readonly provider: CliProvider
  readonly threads?: number
  readonly json?: true
}

/** Defines `onnx-ire chat`. */
export function defineChat(program: Command, io: Io): void {
  const command = program
    .command('chat')
    .description('talk to a language model in the terminal')
    .argument('<folder>', 'folder of a language model, as for transformers.js')
    .addOption(dtypeOption())
    .option('--adapter <path>', 'a PEFT folder, an .onnx_adapter file, or an .onnx file with an adapter')
    .option('--any-base', 'accept an adapter that was made from another model')
    .option('--compare', 'answer without the adapter too')
    .option('--message <text...>', 'messages to answer, in place of those from standard input')
    .option('--system <text>', 'first message of the conversation, with the role system')
    .option('--max-tokens <n>', 'largest number of tokens of an answer', parsePositiveInteger, 256)
    .option(
      '--temperature <t>',
      'sample with this temperature (default: take the most probable token)',
      parsePositiveNumber,
    )
    .option('--top-p <share>', 'sample among the most probable tokens of this share', parsePositiveNumber)
    .option('--top-k <n>', 'sample among this many most probable tokens', parsePositiveInteger)
    .option('--seed <n>', 'seed of the samples', parseNonNegativeInteger, 0)
    .option('--threads <n>', 'threads per operator', parseThreads)
    .addOption(providerOption())
    .addOption(jsonOption())
  command
    .addHelpText(
      'after',
      `
Every line of standard input is a message; /new begins another conversation. A message that fills the context
of the model, with the conversation before it, has no answer: the reason is printed, the conversation goes on
without the message, and the exit code is 1 in the end. An answer that is cut is followed by the reason, on
standard error; with --json its "ended" is "length".

Examples:
  $ onnx-ire chat SmolLM2-135M-Instruct
  $ onnx-ire chat SmolLM2-135M-Instruct --adapter tuned/adapter --compare
  $ onnx-ire chat tuned/model --message "How do I reset my password?" --json`,
    )
    .action(async (folder: string, options: Options) => {
      if (options.adapter === undefined) refuseOptions(command, ['compare', 'anyBase'], 'needs --adapter')
      if (options.temperature === undefined)
        refuseOptions(command, ['topP', 'topK', 'seed'], 'is for sampling: add --temperature')
      const base = await openLanguageModel(folder, options.dtype)
      const tuned =
        options.adapter === undefined ? base : await withAdapter(io, base, options.adapter, options.anyBase ?? false)
      const runtime = await createRuntime(options.provider, options.threads)
      const speakers: Speaker[] = []
      try {
        speakers.push(await Speaker.create(options.compare ? 'tuned' : '', tuned, runtime))
        if (options.compare) speakers.unshift(await Speaker.create('base', base, runtime))
        await talk(io, speakers, options)
      } finally {
        for (const speaker of speakers) await speaker.generator.dispose()
        await runtime.dispose()
      }
    })
}

/** A model with its own conversation. */
class Speaker {
  messages: ChatMessage[] = []
  readonly name: string
  readonly generator: TextGenerator

  private constructor(name: string, generator: TextGenerator) {
    this.name = name
    this.generator = generator
  }

  static async create(name: string, chat: LanguageModel, runtime: Parameters<typeof TextGenerator.create>[1]) {
    if (chat.chatTemplate === null)
      throw new OnnxIreError(
        'invalid-model',
        `${chat.folder.name} has no chat template: take an instruction-tuned model`,
      )
    return new Speaker(name, await TextGenerator.create(chat, runtime))
  }
}

interface Answer {
  readonly message: string
  readonly model: string
  /** Null if there is none, with the reason. */
  readonly answer: string | null
  /** Why the answer ended: 'length' if it was cut. */
  readonly ended?: GeneratedText['ended']
  readonly error?: { readonly code: string; readonly message: string }
}

async function talk(io: Io, speakers: readonly Speaker[], options: Options): Promise<void> {
  const { system, message, maxTokens, temperature, topP, topK, seed } = options
  const generation: GenerateOptions = { maxTokens, temperature, topP, topK, seed }
  const answers: Answer[] = []
  const begin = () => {
    for (const speaker of speakers) speaker.messages = system === undefined ? [] : [{ role: 'system', content: system }]
  }
  begin()
  const prompt = () => {
    if (!message && io.stdout.isTTY) writeText(io.stdout, '> ')
  }
  prompt()
  for await (const line of message ?? createInterface({ input: io.stdin })) {
    if (line.trim() === '/new') begin()
    else if (line.trim() !== '')
      for (const speaker of speakers) {
        speaker.messages.push({ role: 'user', content: line })
        const write = (text: string) => {
          if (!options.json) writeText(io.stdout, text)
        }
        if (speaker.name !== '') write(`${speaker.name}: `)
        const given = { message: line, model: speaker.name || 'model' }
        try {
          const pieces = speaker.generator.generate(speaker.messages, generation)
          let piece = await pieces.next()
          for (; !piece.done; piece = await pieces.next()) write(piece.value)
          write('\n')
          const { text: answer, tokens, ended } = piece.value
          if (ended === 'length' && !options.json) writeText(io.stderr, `${describeCut(tokens.length, maxTokens)}\n`)
          speaker.messages.push({ role: 'assistant', content: answer })
          answers.push({ ...given, answer, ended })
        } catch (error) {
          if (!concernsPrompt(error)) throw error
          const { code, message } = error
          write('\n')
          writeText(io.stderr, `no answer (${code}): ${message}; /new begins another conversation\n`)
          speaker.messages.pop()
          answers.push({ ...given, answer: null, error: { code, message } })
        }
      }
    prompt()
  }
  const error = answers.find((each) => each.error)?.error
  if (options.json) print(io, { answers, ...(error && { error }) }, true, () => '')
  if (error) throw new Reported()
}

const describeCut = (tokens: number, maxTokens: number): string =>
  tokens < maxTokens
    ? `the answer was cut after ${formatCount(tokens, 'token')}, which fill the context of the model; /new begins another conversation`
    : `the answer was cut after ${formatCount(tokens, 'token')}; raise --max-tokens for longer ones`
