import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { applyAdapter } from '../../adapter/apply-adapter.js'
import { findLayers } from '../../adapter/layers.js'
import { lora } from '../../adapter/lora.js'
import { adapterOf } from '../../adapter/read-adapter.js'
import type { DatasetOrStream } from '../../data/stream.js'
import { sizeOf } from '../../ir/tensor.js'
import { type ChatData, type ChatDataReport, encodeRows, toChatData } from '../../language/chat-data.js'
import { type ChatMessage, parseChatRow } from '../../language/chat-rows.js'
import { TextGenerator } from '../../language/generate.js'
import type { LanguageModel } from '../../language/language-model.js'
import { nextToken } from '../../language/next-token.js'
import { isMergedDecoder, trainingModel } from '../../language/training-model.js'
import type { Measures } from '../../metric/accumulator.js'
import { accuracy } from '../../metric/accuracy.js'
import { perplexity } from '../../metric/perplexity.js'
import { readJsonRows } from '../../node/data/json-rows.js'
import { writePeftFolder } from '../../node/files/adapter.js'
import { writeModelFolder } from '../../node/files/model-folder.js'
import type { Model } from '../../onnx/model.js'
import { adamw } from '../../optim/adam.js'
import { ire } from '../../optim/ire/ire.js'
import type { Runtime } from '../../runtime/runtime.js'
import type { TrainerOptions } from '../../train/options.js'
import { Trainer } from '../../train/trainer.js'
import { OnnxIreError } from '../../util/errors.js'
import { Random } from '../../util/random.js'
import { formatBytes, formatNumber } from '../format.js'
import { onInterrupt } from '../interrupts.js'
import type { Io } from '../io.js'
import { type CliProvider, createRuntime } from '../options.js'
import type { TrainingProgress } from '../progress.js'
import { extractAdapter, toModelForm } from '../stored-adapter.js'
import { measureMemoryRoom, warnOfMemory } from '../training/check-room.js'
import { openChat } from './open-chat.js'

/**
 * Tokens that are computed at once by default. Quantized weights are converted once for each micro-batch, so small ones
 * take more time; the logits of large ones take memory, in proportion to tokens and vocabulary.
 */
const tokensAtOnce = 1024

/** A fine-tuning of a chat model. */
export interface TuneRequest {
  readonly folder: string
  readonly data: string
  readonly output: string
  readonly dtype?: string
  readonly r: number
  readonly alpha?: number
  readonly targets?: readonly string[]
  readonly rsLora?: true
  readonly length: number
  readonly loss: 'assistant' | 'all'
  readonly epochs: number
  readonly steps?: number
  readonly batchSize: number
  /** Default: as many as have `tokensAtOnce` tokens together. */
  readonly microBatch?: number
  /** Whether the backward pass computes the activations of a block again. */
  readonly recompute: boolean
  readonly lr: number
  readonly ire?: true
  /** Settings of IRE. */
  readonly kappa: number
  readonly gamma: number
  readonly validation: number
  readonly samples: number
  readonly form: 'beside' | 'merged' | 'q4' | 'q8'
  readonly seed: number
  readonly provider: CliProvider
  readonly threads?: number
}

/** What a run will do, before it does it. */
export interface TunePlan {
  readonly model: string
  readonly data: ChatDataReport
  /** Rows held out for validation. */
  readonly heldOut: number
  /** Names of the layers with an adapter, and how many there are of each. */
  readonly layers: Readonly<Record<string, number>>
  readonly trainable: number
  readonly parameters: number
  readonly steps: number
  readonly batchSize: number
  readonly microBatch: number
  readonly optimizer: string
  /** Estimated and available bytes; null on other devices than the CPU. */
  readonly memory: { readonly needed: number | null; readonly available: number } | null
  readonly outputs: readonly string[]
  readonly warnings: readonly string[]
}

/** Answer to a prompt of the data. */
export interface Sample {
  readonly prompt: string
  readonly before: string
  readonly after: string
}

export interface TuneResult {
  readonly plan: TunePlan
  readonly step: number
  readonly interrupted: boolean
  readonly before: Measures | null
  readonly after: Measures | null
  readonly samples: readonly Sample[]
}

/** Everything that is read and decided before the first step. */
export interface PreparedTuning {
  readonly request: TuneRequest
  readonly chat: LanguageModel
  /** The model of the file with the new adapter. */
  readonly adapted: Model
  readonly train: ChatData
  readonly validation: ChatData | undefined
  readonly prompts: readonly (readonly ChatMessage[])[]
  readonly options: Omit<TrainerOptions, 'runtime'>
  readonly plan: TunePlan
}

/** Reads model and data, and makes the plan. */
export async function prepareTuning(request: TuneRequest): Promise<PreparedTuning> {
  const chat = await openChat(request.folder, request.dtype)
  if (isMergedDecoder(chat.model))
    throw new OnnxIreError(
      'invalid-model',
      `${join(request.folder, chat.file)} is a merged decoder, whose layers are in the branches of an If, where an adapter cannot be inserted: take another file of the model, or export it with a newer optimum`,
    )
  const rows = await readJsonRows(request.data)
  const { length, loss, batchSize, seed, r } = request
  const options = { length, loss, batchSize, seed }
  const heldOut = Math.min(Math.round(request.validation * rows.length), rows.length - 1)
  const order = Array.from(new Random(seed).stream('validation').permutation(rows.length))
  const [held, kept] = [order.slice(0, heldOut), order.slice(heldOut).sort((a, b) => a - b)]
  const encoded = encodeRows(rows, chat, loss)
  const pick = <T>(of: readonly T[], numbers: readonly number[]) => numbers.map((i) => of[i]!)
  const train = toChatData(pick(encoded, kept), chat, options)
  const validation = heldOut > 0 ? toChatData(pick(encoded, held), chat, options) : undefined
  const adapted = lora(chat.model, {
    r,
    alpha: request.alpha ?? 2 * r,
    ...(request.targets && { targets: request.targets }),
    ...(request.rsLora && { rsLora: true }),
    seed,
    taskType: 'CAUSAL_LM',
    baseModel: request.folder,
  })
  const steps = request.steps ?? request.epochs * Math.ceil(train.length / batchSize)
  const optimizer = adamw({ lr: request.lr })
  const longest = Math.min(length, train.report.longest)
  const microBatch = request.microBatch ?? Math.min(batchSize, Math.max(1, Math.floor(tokensAtOnce / longest)))
  const trainerOptions: Omit<TrainerOptions, 'runtime'> = {
    loss: nextToken(),
    optimizer: request.ire ? ire(optimizer, { kappa: request.kappa, gamma: request.gamma }) : optimizer,
    metrics: [accuracy(), perplexity()],
    schedule: { kind: 'cosine', warmup: Math.min(Math.ceil(steps * 0.05), Math.max(0, steps - 1)) },
    clipNorm: 1,
    batchSize,
    microBatch,
    ...(request.recompute && { recompute: 'blocks' }),
    seed,
  }
  const memory =
    request.provider === 'cpu'
      ? await measureMemoryRoom(trainingModel(adapted), trainerOptions, train as DatasetOrStream, undefined)
      : null
  return {
    request,
    chat,
    adapted,
    train,
    validation,
    prompts: findPrompts(pick(rows, heldOut > 0 ? held : kept), request.samples),
    options: trainerOptions,
    plan: {
      model: join(request.folder, chat.file),
      data: train.report,
      heldOut,
      ...countParameters(chat.model, adapted),
      steps,
      batchSize,
      microBatch,
      optimizer: `AdamW lr ${request.lr}, cosine, clip 1${request.ire ? `, IRE with kappa ${request.kappa}, gamma ${request.gamma}` : ''}`,
      memory,
      outputs: [join(request.output, 'adapter'), join(request.output, 'model')],
      warnings: [...train.report.warnings, ...describeMemory(memory, microBatch, length)],
    },
  }
}

function describeMemory(memory: TunePlan['memory'], microBatch: number, length: number): string[] {
  if (!memory || warnOfMemory(memory, {}) === undefined) return []
  return [
    `the run needs about ${formatBytes(memory.needed!)} of memory and may take ${formatBytes(memory.available)}: lower --micro-batch, which is ${microBatch}, or --length, which is ${length}`,
  ]
}

/** Counts the layers with an adapter by their last name, and the parameters of the model and of its adapter. */
function countParameters(base: Model, adapted: Model) {
  const layers = new Map<string, number>()
  let trainable = 0
  for (const { module, a, b } of adapterOf(adapted).layers) {
    const name = module.slice(module.lastIndexOf('.') + 1)
    layers.set(name, (layers.get(name) ?? 0) + 1)
    trainable += sizeOf(a.dims) + sizeOf(b.dims)
  }
  const linear = findLayers(base).filter(({ module }) => !module.endsWith('qkv_proj'))
  const parameters = linear.reduce((sum, layer) => sum + layer.in * layer.out, 0)
  return { layers: Object.fromEntries(layers), trainable, parameters }
}

/** The conversations of some rows up to the last answer. */
function findPrompts(rows: readonly unknown[], count: number): ChatMessage[][] {
  const prompts: ChatMessage[][] = []
  for (const [i, row] of rows.entries()) {
    if (prompts.length === count) break
    const parsed = parseChatRow(row, i + 1)
    if (parsed.kind === 'messages') {
      const last = parsed.messages.findLastIndex(({ role }) => role === 'assistant')
      if (last > 0) prompts.push(parsed.messages.slice(0, last))
    } else if (parsed.kind === 'completion' && typeof parsed.prompt !== 'string') prompts.push([...parsed.prompt])
  }
  return prompts
}

/** Trains, and writes adapter and model. Throws if the output folder holds something and `force` is not set. */
export async function runTuning(prepared: PreparedTuning, io: Io, progress: TrainingProgress): Promise<TuneResult> {
  const { request, chat, adapted, train, validation, prompts, options, plan } = prepared
  const runtime = await createRuntime(request.provider, request.threads)
  const interrupts = onInterrupt(io, () => progress.note('ending after this step, then writing the adapter'))
  try {
    const before = await answer(chat, prompts, runtime)
    const trainer = await Trainer.create(trainingModel(adapted), { ...options, runtime })
    let tuned: Model
    let measures: { readonly before: Measures | null; readonly after: Measures | null }
    let step: number
    try {
      const first = validation ? await trainer.evaluate(validation) : null
      const evaluations = trainer.fit(train, {
        ...(request.steps === undefined ? { totalEpochs: request.epochs } : { totalSteps: request.steps }),
        ...(validation && { validation }),
        onStep: progress.step,
        signal: interrupts.signal,
      })
      for await (const metrics of evaluations) progress.evaluation(metrics)
      measures = { before: first, after: validation ? await trainer.evaluate(validation) : null }
      step = trainer.step
      tuned = applyAdapter(chat.model, adapterOf(trainer.export()))
    } finally {
      await trainer.dispose()
      progress.stop()
    }
    await writePeftFolder(plan.outputs[0]!, extractAdapter(tuned, request.folder).adapter)
    const exported = toModelForm(request.form, tuned)
    await writeModelFolder(plan.outputs[1]!, chat, exported)
    const after = await answer({ ...chat, model: exported }, prompts, runtime)
    const samples = prompts.map((prompt, i) => ({
      prompt: prompt.at(-1)!.content,
      before: before[i]!,
      after: after[i]!,
    }))
    return { plan, step, interrupted: interrupts.signal.aborted, ...measures, samples }
  } finally {
    interrupts.release()
    await runtime.dispose()
  }
}

async function answer(
  chat: LanguageModel,
  prompts: readonly (readonly ChatMessage[])[],
  runtime: Runtime,
): Promise<string[]> {
  if (prompts.length === 0) return []
  const generator = await TextGenerator.create(chat, runtime)
  try {
    const answers: string[] = []
    for (const prompt of prompts) answers.push((await generator.complete(prompt, { maxTokens: 64 })).text)
    return answers
  } finally {
    await generator.dispose()
  }
}

/** Throws `io` if a file or folder exists in the place of an output. */
export async function checkFree(plan: TunePlan): Promise<void> {
  for (const path of plan.outputs)
    if (await stat(path).catch(() => null))
      throw new OnnxIreError('io', `${path} exists: choose another folder with -o, or replace it with --force`)
}

/** The plan as text. */
export function formatPlan({
  model,
  data,
  heldOut,
  layers,
  trainable,
  parameters,
  steps,
  batchSize,
  microBatch,
  optimizer,
  memory,
  outputs,
}: TunePlan): string {
  const share = ((100 * trainable) / (parameters + trainable)).toFixed(2)
  return [
    `model    ${model}`,
    `data     ${formatNumber(data.examples)} examples, ${formatNumber(data.tokens)} tokens, of which ${formatNumber(data.counted)} are learned; ${formatNumber(heldOut)} examples held out`,
    `adapter  ${Object.entries(layers)
      .map(([name, count]) => `${name} x ${count}`)
      .join(', ')}`,
    `         trains ${formatNumber(trainable)} of ${formatNumber(parameters + trainable)} parameters (${share} %)`,
    `training ${formatNumber(steps)} steps of ${batchSize} examples, ${microBatch} at once; ${optimizer}`,
    ...(memory?.needed
      ? [`memory   about ${formatBytes(memory.needed)}; ${formatBytes(memory.available)} are available`]
      : []),
    `writes   ${outputs.join(', ')}`,
  ].join('\n')
}
