import { join } from 'node:path'
import type { DatasetOrStream } from '../../data/stream.js'
import { type ChatDataReport, checkContext, ignoredLabel, lengthOf } from '../../language/chat-data.js'
import type { ChatMessage } from '../../language/chat-rows.js'
import { TextGenerator } from '../../language/generate.js'
import type { LanguageModel } from '../../language/language-model.js'
import { nextToken } from '../../language/next-token.js'
import { addReference } from '../../language/preference-data.js'
import { dpo, orpo } from '../../language/preference-loss.js'
import { trainingModel } from '../../language/training-model.js'
import { distillation } from '../../loss/distillation.js'
import type { Loss } from '../../loss/loss.js'
import type { Measures } from '../../metric/accumulator.js'
import { accuracy } from '../../metric/accuracy.js'
import { margin } from '../../metric/margin.js'
import { perplexity } from '../../metric/perplexity.js'
import { writePeftFolder } from '../../node/files/adapter.js'
import { writeModelFolder } from '../../node/files/model-folder.js'
import type { Model } from '../../onnx/model.js'
import type { Runtime } from '../../runtime/runtime.js'
import { evaluateModel } from '../../train/evaluate.js'
import type { TrainerOptions } from '../../train/options.js'
import { OnnxIreError } from '../../util/errors.js'
import { concernsPrompt } from '../errors.js'
import { formatBytes, formatCount, formatNumber } from '../format.js'
import { modelFolderOf, openLanguageModel } from '../inputs/open-language-model.js'
import { onInterrupt } from '../interrupts.js'
import type { Io } from '../io.js'
import { type CliProvider, createRuntime } from '../options.js'
import type { TrainingProgress } from '../progress.js'
import { extractAdapter } from '../stored-adapter.js'
import { measureMemoryRoom, warnOfMemory } from '../training/check-room.js'
import { checkMergeable } from './adapter-options.js'
import {
  type ChatAdapter,
  type ChatAdapterRequest,
  countParts,
  createChatAdapter,
  type TrainedParts,
  takeTrained,
  toWrittenForm,
} from './chat-adapter.js'
import {
  type ChatTuningData,
  type ChatTuningDataRequest,
  readChatTuningData,
  type TuningMethod,
} from './chat-tuning-data.js'
import { createOptimization, type OptimizerRequest } from './optimization.js'
import { formatMemory, type TuningPlan } from './plan.js'
import { type TrackingOptions, trainResumably } from './train-resumably.js'

/**
 * Tokens that are computed at once by default. Quantized weights are converted once for each micro-batch, so small ones
 * take more time; the logits of large ones take memory, in proportion to tokens and vocabulary.
 */
const tokensAtOnce = 1024

/**
 * Learning rates of AdamW. Those of matrices are ten times those of full fine-tuning, those of factors ten times those
 * of matrices: Liu et al. (2022) train (IA)^3 with 3e-3.
 */
const learningRates: Readonly<Record<ChatAdapter['trains'], Readonly<Record<TuningMethod, number>>>> = {
  weights: { sft: 2e-5, dpo: 1e-6, orpo: 8e-6 },
  matrices: { sft: 2e-4, dpo: 1e-5, orpo: 8e-5 },
  factors: { sft: 2e-3, dpo: 1e-4, orpo: 8e-4 },
}

/** A fine-tuning of a chat model. */
export interface ChatTuningRequest
  extends ChatTuningDataRequest,
    TrackingOptions,
    ChatAdapterRequest,
    OptimizerRequest {
  readonly folder: string
  readonly output: string
  readonly dtype?: string
  /** Factor of DPO's reward, or weight of ORPO's odds ratio. Default 0.1. */
  readonly beta?: number
  /** Folder of a larger model that is imitated. */
  readonly teacher?: string
  readonly teacherDtype?: string
  /** Share of the teacher in the loss. Default 0.5. */
  readonly teacherWeight?: number
  /** Divisor of the logits of both models. Default 2. */
  readonly temperature?: number
  readonly epochs: number
  readonly steps?: number
  /** Default: as many as have `tokensAtOnce` tokens together. */
  readonly microBatch?: number
  /** Whether the backward pass computes the activations of a block again. */
  readonly recompute: boolean
  /** 'adamw-8bit' stores the first moment in bytes. */
  readonly optimizer: 'adamw' | 'adamw-8bit'
  readonly form: 'beside' | 'merged' | 'q4' | 'q8'
  /** Whether a run continues from its newest checkpoint. */
  readonly resume: boolean
  readonly provider: CliProvider
  readonly threads?: number
}

/** Plan of a fine-tuning of a chat model. */
interface ChatTuningPlan extends TuningPlan, TrainedParts {
  readonly method: TuningMethod
  /** Folder of the model that is imitated. */
  readonly teacher: string | null
  readonly data: ChatDataReport
  readonly microBatch: number
}

/** Answer to a prompt of the data. */
interface Sample {
  readonly prompt: string
  readonly before: string
  readonly after: string
}

export interface ChatTuningResult {
  readonly plan: ChatTuningPlan
  readonly step: number
  readonly interrupted: boolean
  readonly before: Measures | null
  readonly after: Measures | null
  /** Measures of the written model, if its weights were rounded after the training (form q4 or q8). */
  readonly rounded: Measures | null
  readonly samples: readonly Sample[]
}

/** A plan with the model, the data and the options that it was made of. */
interface PreparedChatTuning {
  readonly request: ChatTuningRequest
  readonly chat: LanguageModel
  readonly adapter: ChatAdapter
  readonly data: ChatTuningData
  readonly options: Omit<TrainerOptions, 'runtime'>
  readonly plan: ChatTuningPlan
}

/** Reads model and data, and makes the plan. */
export async function prepareChatTuning(request: ChatTuningRequest): Promise<PreparedChatTuning> {
  const chat = await openLanguageModel(request.folder, request.dtype)
  const data = await readChatTuningData(request, chat)
  const { method, train } = data
  const adapter = await createChatAdapter(request, chat)
  if (request.form === 'merged' && adapter.trains === 'matrices') checkMergeable(adapter.adapted)
  const { batchSize, pack = false } = request
  const length = lengthOf('tune chat', request.length, chat)
  const steps = request.steps ?? request.epochs * Math.ceil(train.length / batchSize)
  const longest = (pack ? length : Math.min(length, train.report.longest)) * (method === 'sft' ? 1 : 2)
  const microBatch = request.microBatch ?? Math.min(batchSize, Math.max(1, Math.floor(tokensAtOnce / longest)))
  const optimization = createOptimization(request, steps, {
    rate: learningRates[adapter.trains][method],
    warmup: 0.05,
    delaysIre: true,
    has8bitMoment: request.optimizer === 'adamw-8bit',
    // Labels of ORPO cannot be sampled, so its curvature is that of the gradient.
    curvature: method === 'orpo' ? 'empirical' : 'sampled',
  })
  const options: Omit<TrainerOptions, 'runtime'> = {
    loss: await createLoss(request, data, chat, length),
    ...optimization.options,
    metrics: [accuracy(), method === 'sft' ? perplexity() : margin()],
    batchSize,
    microBatch,
    ...(request.recompute && { recompute: 'blocks' }),
    seed: request.seed,
  }
  // The memory depends on the shapes of the data alone.
  const sized = 'pairs' in train ? train.withReference(train.pairs.map(() => [0, 0])) : train
  const form = trainingForm(adapter.adapted, method, pack)
  const memory =
    request.provider === 'cpu' ? await measureMemoryRoom(form, options, sized as DatasetOrStream, undefined) : null
  const { output } = request
  return {
    request,
    chat,
    adapter,
    data,
    options,
    plan: {
      model: join(request.folder, chat.file),
      method,
      teacher: request.teacher ?? null,
      data: train.report,
      heldOut: data.heldOut,
      adapter: adapter.about,
      ...countParts(chat.model, adapter, form),
      steps,
      batchSize,
      microBatch,
      optimizer: optimization.about,
      memory,
      outputs: [...(adapter.trains === 'weights' ? [] : [join(output, 'adapter')]), modelFolderOf(output)],
      checkpoints: join(output, 'checkpoints'),
      warnings: [...adapter.warnings, ...data.warnings, ...describeMemory(memory, microBatch, length)],
    },
  }
}

const trainingForm = (model: Model, method: TuningMethod, pack: boolean | undefined): Model =>
  trainingModel(model, { pairs: method !== 'sft', pack })

/** Creates the loss. Throws `invalid-option` for options of another method. */
async function createLoss(
  request: ChatTuningRequest,
  { method, train, validation }: ChatTuningData,
  chat: LanguageModel,
  length: number,
): Promise<Loss> {
  const { beta, teacher, teacherDtype, teacherWeight, temperature } = request
  const refuse = (option: string, reason: string): never => {
    throw new OnnxIreError('invalid-option', `--${option} ${reason}`)
  }
  if (method === 'sft' && beta !== undefined)
    refuse('beta', 'is for --method dpo and orpo, which compare pairs of answers')
  if (method !== 'sft' && teacher !== undefined) refuse('teacher', 'is for --method sft, which learns answers')
  if (teacher === undefined) {
    const ofTeacher = { 'teacher-dtype': teacherDtype, 'teacher-weight': teacherWeight, temperature }
    const given = Object.entries(ofTeacher).find(([, value]) => value !== undefined)
    if (given) refuse(given[0], 'is for --teacher, the folder of a larger model')
    if (method === 'sft') return nextToken()
    return method === 'dpo' ? dpo({ beta }) : orpo({ lambda: beta })
  }
  const large = await openLanguageModel(teacher, teacherDtype)
  const examples = [train, validation].flatMap((part) => (part && 'examplesOf' in part ? part.examplesOf : []))
  checkContext('tune chat', length, examples, large, 'teacher')
  for (const { row, tokens } of examples)
    if (large.tokenizer.decode(tokens) !== chat.tokenizer.decode(tokens))
      throw new OnnxIreError(
        'invalid-model',
        `${teacher} has another tokenizer than ${request.folder} (row ${row} differs): take a teacher of the same family`,
      )
  return distillation({
    teacher: trainingModel(large.model, { pack: request.pack }),
    ...{ logits: 'logits', teacherLogits: 'logits', ignoreIndex: ignoredLabel, chunk: 'auto' },
    temperature,
    weight: teacherWeight,
  })
}

function describeMemory(memory: ChatTuningPlan['memory'], microBatch: number, length: number): string[] {
  if (!memory || warnOfMemory(memory, {}) === undefined) return []
  return [
    `the run needs about ${formatBytes(memory.needed!)} of memory and may take ${formatBytes(memory.available)}: lower --micro-batch, which is ${microBatch}, or --length, which is ${length}`,
  ]
}

/**
 * Trains, saving checkpoints, and writes adapter and model. An interrupted run saves a checkpoint and writes the
 * adapter that it has by then.
 * @throws OnnxIreError `checkpoint` if `resume` is set and the checkpoint belongs to another run; `io` if there is none
 */
export async function runChatTuning(
  prepared: PreparedChatTuning,
  io: Io,
  progress: TrainingProgress,
): Promise<ChatTuningResult> {
  const { request, chat, adapter, data, options, plan } = prepared
  const { prompts } = data
  const runtime = await createRuntime(request.provider, request.threads)
  const interrupts = onInterrupt(io, () => progress.note('ending after this step; press Ctrl-C again to quit at once'))
  const { signal } = interrupts
  const interrupted = (step: number): ChatTuningResult => ({
    ...{ plan, step, interrupted: true, before: null, after: null, rounded: null, samples: [] },
  })
  try {
    const start = { ...chat, model: adapter.isStored ? adapter.adapted : chat.model }
    const before = await answer(start, prompts, runtime)
    const { train, validation } = await addReferences(data, start.model, runtime, plan.microBatch, progress, signal)
    if (signal.aborted) return interrupted(0)
    const { epochs, steps, resume } = request
    const {
      tuned: trained,
      step,
      ...measures
    } = await trainResumably(
      {
        model: trainingForm(adapter.adapted, plan.method, request.pack),
        options: { ...options, runtime },
        train: train as DatasetOrStream,
        validation: validation as DatasetOrStream | undefined,
        ...{ epochs, steps, resume, checkpoints: plan.checkpoints },
        ...{ tracking: request, plan },
      },
      progress,
      signal,
    )
    const tuned = takeTrained(chat.model, adapter, trained)
    const [folder, ...others] = plan.outputs.toReversed() as [string, ...string[]]
    if (step > 0) for (const of of others) await writePeftFolder(of, extractAdapter(tuned, request.folder).adapter)
    if (signal.aborted) return interrupted(step)
    const exported = toWrittenForm(request.form, adapter, tuned)
    await writeModelFolder(folder, chat, exported)
    const { loss, metrics } = options
    const rounded =
      validation && (request.form === 'q4' || request.form === 'q8')
        ? await evaluateModel(trainingForm(exported, plan.method, request.pack), validation as DatasetOrStream, {
            ...{ loss, runtime, batchSize: plan.microBatch },
            ...(metrics && { metrics }),
          })
        : null
    const after = await answer({ ...chat, model: exported }, prompts, runtime)
    const samples = prompts.map((prompt, i) => ({
      prompt: prompt.at(-1)!.content,
      before: before[i]!,
      after: after[i]!,
    }))
    return { plan, step, interrupted: false, ...measures, rounded, samples }
  } finally {
    interrupts.release()
    await runtime.dispose()
  }
}

type Split = Pick<ChatTuningData, 'train' | 'validation'>
type Signal = { readonly aborted: boolean }

/** Adds the log-probabilities under the model before the run, which DPO compares with. */
async function addReferences(
  { method, train, validation }: ChatTuningData,
  model: Model,
  runtime: Runtime,
  batchSize: number,
  progress: TrainingProgress,
  signal: Signal,
): Promise<Split> {
  if (method !== 'dpo') return { train, validation }
  const add = async (data: Split['validation']) => {
    if (!data || !('pairs' in data)) return data
    progress.note(`computing the log-probabilities of ${formatCount(data.length, 'pair')} before the training`)
    return addReference(data, model, { runtime, batchSize, signal })
  }
  return { train: (await add(train))!, validation: await add(validation) }
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
    for (const prompt of prompts) answers.push(await answerTo(prompt, generator))
    return answers
  } finally {
    await generator.dispose()
  }
}

/** An answer, or the reason why there is none, such as a prompt that fills the context: the run goes on. */
async function answerTo(prompt: readonly ChatMessage[], generator: TextGenerator): Promise<string> {
  try {
    return (await generator.complete(prompt, { maxTokens: 64 })).text
  } catch (error) {
    if (concernsPrompt(error)) return `(none: ${error.message})`
    throw error
  }
}

const methodNames: Readonly<Record<TuningMethod, string>> = {
  sft: 'supervised fine-tuning',
  dpo: 'direct preference optimization',
  orpo: 'odds ratio preference optimization',
}

/** The plan as text. */
export function formatChatPlan({
  model,
  method,
  teacher,
  data,
  heldOut,
  adapter,
  layers,
  saved,
  trainable,
  parameters,
  steps,
  batchSize,
  microBatch,
  optimizer,
  memory,
  outputs,
}: ChatTuningPlan): string {
  const share = ((100 * trainable) / (parameters + trainable)).toFixed(2)
  const parts = [
    ...Object.entries(layers).map(([name, count]) => `${name} x ${count}`),
    ...saved.map((module) => `${module} as a whole`),
  ]
  return [
    `model    ${model}`,
    `data     ${formatCount(data.examples, method === 'sft' ? 'example' : 'pair')}, ${formatNumber(data.tokens)} tokens, of which ${formatNumber(data.counted)} are ${method === 'sft' ? 'learned' : 'compared'}${data.rows < data.examples ? `, packed in ${formatCount(data.rows, 'row')}` : ''}; ${formatNumber(heldOut)} held out`,
    `adapter  ${adapter}`,
    ...(parts.length > 0 ? [`         ${parts.join(', ')}`] : []),
    `         trains ${formatNumber(trainable)} of ${formatNumber(parameters + trainable)} parameters (${share} %)`,
    `training ${methodNames[method]}${teacher === null ? '' : ` with the teacher ${teacher}`}: ${formatCount(steps, 'step')} of ${batchSize}, ${microBatch} at once; ${optimizer}`,
    ...formatMemory(memory),
    `writes   ${outputs.join(', ')}`,
  ].join('\n')
}
