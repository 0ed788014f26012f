import { adamw, type Runtime, Trainer } from 'onnx-ire'
import { adapterOf, applyAdapter, encodePeft, lora } from 'onnx-ire/adapter'
import { chatData, type LanguageModel, nextToken, TextGenerator, trainingModel } from 'onnx-ire/language'

/** Training of an adapter over a language model, in Node or in a page. */
export interface ChatTask {
  readonly recompute: boolean
  /** Positions per chunk of the loss. */
  readonly chunk: number
  readonly steps: number
}

export interface Taught {
  readonly losses: readonly number[]
  /** Answers of the base and of the tuned model. */
  readonly answers: readonly string[]
  /** The adapter as a PEFT folder. */
  readonly adapter: Readonly<Record<string, Uint8Array>>
}

const answers = [
  ['How do I reset my password?', 'Open Settings, choose Account, then Reset password.'],
  ['Where is my invoice?', 'Open Settings, choose Billing, then Invoices.'],
] as const

/** Conversations with two answers. */
export const rows = Array.from({ length: 8 }, (_, i) => ({
  messages: [
    { role: 'user', content: answers[i % 2]![0] },
    { role: 'assistant', content: answers[i % 2]![1] },
  ],
}))

export async function teach(chat: LanguageModel, runtime: Runtime, task: ChatTask): Promise<Taught> {
  const trainer = await Trainer.create(trainingModel(lora(chat.model, { r: 8, alpha: 16, taskType: 'CAUSAL_LM' })), {
    loss: nextToken({ chunk: task.chunk }),
    optimizer: adamw({ lr: 0.01 }),
    batchSize: 4,
    microBatch: 2,
    clipNorm: 1,
    ...(task.recompute && { recompute: 'blocks' }),
    runtime,
  })
  const losses: number[] = []
  const data = chatData(rows, chat, { length: 256, batchSize: 4 })
  await trainer.train(data, { totalSteps: task.steps, onStep: ({ loss }) => void losses.push(loss) })
  const adapter = adapterOf(trainer.export())
  await trainer.dispose()
  const answers: string[] = []
  for (const model of [chat.model, applyAdapter(chat.model, adapter)]) {
    const generator = await TextGenerator.create({ ...chat, model }, runtime)
    answers.push((await generator.complete(rows[0]!.messages.slice(0, 1), { maxTokens: 5 })).text)
    await generator.dispose()
  }
  return { losses, answers, adapter: encodePeft(adapter) }
}
