import { join } from 'node:path'
import type { AdapterOptions } from '../../adapter/create-adapter.js'
import { adaptableLayers } from '../../adapter/layers.js'
import { mergeAdapter } from '../../adapter/merge-adapter.js'
import { type Dataset, splitIndices, subset } from '../../data/dataset.js'
import { totalSizeOf } from '../../ir/tensor.js'
import type { Measures } from '../../metric/accumulator.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import type { Model } from '../../onnx/model.js'
import { batchSizeOf } from '../../train/model/free-batch-axis.js'
import { createStartModel } from '../../train/model/start-model.js'
import { findTrainable } from '../../train/model/trainable.js'
import type { TrainerOptions } from '../../train/options.js'
import { OnnxIreError } from '../../util/errors.js'
import { formatBytes, formatCount, formatNumber, quotePath } from '../format.js'
import { onInterrupt } from '../interrupts.js'
import type { Io } from '../io.js'
import { type CliProvider, createRuntime } from '../options.js'
import type { TrainingProgress } from '../progress.js'
import { spread } from '../spread.js'
import { measureMemoryRoom, warnOfMemory } from '../training/check-room.js'
import {
  checkMergeable,
  describeAdapter,
  listGiven,
  type NewAdapterKind,
  type NewAdapterOptions,
  readNewAdapter,
} from './adapter-options.js'
import { createOptimization, type OptimizerRequest } from './optimization.js'
import { formatMemory, type TuningPlan } from './plan.js'
import { formatSamples, type PredictedSample, type Sampling } from './samples.js'
import { type TrackingOptions, trainResumably } from './train-resumably.js'
import { formatTuningResult } from './tune-command.js'

/** Options that the fine-tunings of every task share. */
export interface ModelTuningRequest extends TrackingOptions, NewAdapterOptions, OptimizerRequest {
  readonly output: string
  /** Default: 'lora' if an option of an adapter is given, otherwise 'none'. */
  readonly adapter?: NewAdapterKind
  readonly epochs: number
  readonly steps?: number
  readonly batchSize: number
  readonly microBatch?: number
  readonly validation: number
  /** Number of examples whose predictions are shown before and after. */
  readonly samples: number
  readonly resume: boolean
  readonly seed: number
  readonly provider: CliProvider
  readonly threads?: number
}

/** Fine-tuning of one task: what is trained on what, and how the result is written. */
export interface ModelTask {
  readonly task: 'classify' | 'embed' | 'image'
  /** Path of the model's file. */
  readonly file: string
  readonly model: Model
  readonly data: Dataset
  readonly options: Pick<TrainerOptions, 'loss' | 'metrics' | 'head' | 'passes' | 'pooling'>
  /** Learning rates of all weights and of an adapter. */
  readonly rates: { readonly full: number; readonly adapter: number }
  /** Description of the data beside its number of examples: classes, or the loss. */
  readonly about: string
  /** Files and folders that `write` creates. */
  readonly outputs: readonly string[]
  readonly warnings: readonly string[]
  readonly sampling: Sampling
  write(tuned: Model): Promise<void>
}

/** Plan of a fine-tuning. */
interface ModelTuningPlan extends TuningPlan {
  readonly task: ModelTask['task']
  readonly about: string
  /** Number of examples for training. */
  readonly examples: number
  readonly trainable: number
  readonly parameters: number
}

interface ModelTuningResult {
  readonly plan: ModelTuningPlan
  readonly step: number
  readonly interrupted: boolean
  readonly before: Measures | null
  readonly after: Measures | null
  readonly samples: readonly PredictedSample[]
}

/** A task with its plan. */
interface PreparedModelTuning {
  readonly request: ModelTuningRequest
  readonly task: ModelTask
  readonly train: Dataset
  readonly validation: Dataset | undefined
  /** Numbers of the examples whose predictions are shown: held-out ones, if there are. */
  readonly sampled: readonly number[]
  readonly options: Omit<TrainerOptions, 'runtime'>
  readonly plan: ModelTuningPlan
}

/** Makes the plan of a task. */
export async function prepareModelTuning(request: ModelTuningRequest, task: ModelTask): Promise<PreparedModelTuning> {
  const { batchSize, seed } = request
  const adapter = readNewAdapter(kindOf(request), request, seed)
  const parts = request.validation > 0 ? holdOut(task.data, request.validation, seed) : undefined
  const train = parts ? subset(task.data, parts.train) : task.data
  const validation = parts && subset(task.data, parts.validation)
  const fixed = batchSizeOf(task.model)
  const steps = request.steps ?? request.epochs * Math.ceil(train.length / batchSize)
  const optimization = createOptimization(request, steps, {
    rate: rateOf(task.rates, adapter),
    warmup: 0.1,
    delaysIre: adapter !== undefined && adapter.kind !== 'ia3',
  })
  const { task: name, file, model, about, outputs, warnings } = task
  const options: Omit<TrainerOptions, 'runtime'> = {
    ...task.options,
    ...optimization.options,
    batchSize,
    ...(request.microBatch && { microBatch: request.microBatch }),
    ...(adapter && { adapter }),
    seed,
  }
  const memory = request.provider === 'cpu' ? await measureMemoryRoom(model, options, train, undefined) : null
  const warning = memory && warnOfMemory(memory, {}) !== undefined
  return {
    request,
    task,
    train,
    validation,
    sampled: spread(parts?.validation ?? Uint32Array.from({ length: train.length }, (_, i) => i), request.samples),
    options,
    plan: {
      ...{ task: name, model: file, about, steps, batchSize, memory, outputs },
      examples: train.length,
      heldOut: validation?.length ?? 0,
      adapter: describeAdapter(adapter),
      ...(await countParameters(model, options).catch((cause) => explainLayers(cause, file, model, options))),
      optimizer: optimization.about,
      checkpoints: join(request.output, 'checkpoints'),
      warnings: [
        ...warnings,
        ...(fixed === null
          ? []
          : [
              `${file} fixes batches of ${fixed}, which a step computes one after the other: onnx-ire batch ${quotePath(file)} -o free.onnx writes a model that computes whole batches`,
            ]),
        ...(warning
          ? [
              `the run needs about ${formatBytes(memory.needed!)} of memory and may take ${formatBytes(memory.available)}: set --micro-batch below ${request.microBatch ?? batchSize}`,
            ]
          : []),
      ],
    },
  }
}

/** Holds out a share of the data. Throws `invalid-option` if a part would be empty. */
function holdOut(data: Dataset, validation: number, seed: number): ReturnType<typeof splitIndices> {
  try {
    return splitIndices(data, { validation, seed })
  } catch (cause) {
    if (!(cause instanceof OnnxIreError) || cause.code !== 'invalid-option') throw cause
    throw new OnnxIreError(
      'invalid-option',
      `--validation ${validation} leaves one of both parts of ${formatCount(data.length, 'example')} empty: give another share, or --validation 0 to hold out none`,
      { cause },
    )
  }
}

/** The kind of the adapter of a request. */
const kindOf = (request: ModelTuningRequest): NewAdapterKind =>
  request.adapter ?? (listGiven(request).length > 0 ? 'lora' : 'none')

/** Learning rates of factors are ten times those of matrices: Liu et al. (2022) train (IA)^3 with 3e-3. */
const rateOf = ({ full, adapter }: ModelTask['rates'], options: AdapterOptions | undefined): number =>
  !options ? full : options.kind === 'ia3' ? 10 * adapter : adapter

async function countParameters(model: Model, options: Omit<TrainerOptions, 'runtime'>) {
  const { model: start, trainable } = await createStartModel(model, options)
  if (options.adapter) checkMergeable(start)
  const graph = importGraph(start)
  return {
    trainable: totalSizeOf(findTrainable(graph, trainable).values()),
    parameters: totalSizeOf(graph.parameters.values()),
  }
}

/**
 * Throws an error of `countParameters` again. If the model has no layers for an adapter besides a replaced head, the
 * message names the options to set.
 */
function explainLayers(
  cause: unknown,
  file: string,
  model: Model,
  { head, adapter }: Omit<TrainerOptions, 'runtime'>,
): never {
  const isDefault = head && adapter && adapter.kind !== 'ia3' && adapter.targets === undefined
  if (!(cause instanceof OnnxIreError) || !cause.message.startsWith('adapter:') || !isDefault) throw cause
  if (adaptableLayers(model).filter((layer) => layer.isDefault).length > 1) throw cause
  throw new OnnxIreError(
    'invalid-option',
    `${file} has no linear layers besides its head, which is replaced: name convolutions with --targets (onnx-ire inspect ${quotePath(file)} --adapter-targets lists them), or set --adapter none`,
    { cause },
  )
}

/**
 * Trains, saving checkpoints, measures before and after, and writes the model. An interrupted run saves a checkpoint.
 * @throws OnnxIreError `checkpoint` if `resume` is set and the checkpoint belongs to another run; `io` if there is none
 */
export async function runModelTuning(
  { request, task, train, validation, sampled, options, plan }: PreparedModelTuning,
  io: Io,
  progress: TrainingProgress,
): Promise<ModelTuningResult> {
  const runtime = await createRuntime(request.provider, request.threads)
  const interrupts = onInterrupt(io, () => progress.note('ending after this step; press Ctrl-C again to quit at once'))
  const { signal } = interrupts
  try {
    const { epochs, steps, resume } = request
    const { checkpoints } = plan
    const predict = async (model: Model) => (sampled.length === 0 ? [] : task.sampling.predict(model, sampled, runtime))
    const first = await predict((await createStartModel(task.model, options)).model)
    const { step, tuned, before, after } = await trainResumably(
      {
        ...{
          model: task.model,
          options: { ...options, runtime },
          train,
          validation,
          epochs,
          steps,
          checkpoints,
          resume,
        },
        ...{ tracking: request, plan },
      },
      progress,
      signal,
    )
    if (signal.aborted) return { plan, step, interrupted: true, before, after: null, samples: [] }
    const result = options.adapter ? mergeAdapter(tuned) : tuned
    await task.write(result)
    const last = await predict(result)
    const { input, expected } = task.sampling
    const samples = sampled.map((example, i) => ({
      ...{ input: input(example), expected: expected(example) },
      ...{ before: first[i]!, after: last[i]! },
    }))
    return { plan, step, interrupted: false, before, after, samples }
  } finally {
    interrupts.release()
    await runtime.dispose()
  }
}

/** The plan as text. */
export function formatModelPlan(plan: ModelTuningPlan): string {
  const { model, about, examples, heldOut, adapter, trainable, parameters, steps, batchSize, optimizer } = plan
  const { memory, outputs } = plan
  const share = ((100 * trainable) / parameters).toFixed(2)
  return [
    `model    ${model}`,
    `data     ${formatCount(examples, 'example')}, ${formatNumber(heldOut)} held out; ${about}`,
    `adapter  ${adapter}`,
    `trains   ${formatNumber(trainable)} of ${formatNumber(parameters)} parameters (${share} %)`,
    `training ${formatCount(steps, 'step')} of ${batchSize}; ${optimizer}`,
    ...formatMemory(memory),
    `writes   ${outputs.join(', ')}`,
  ].join('\n')
}

/** A result as text. */
export const formatModelResult = (result: ModelTuningResult): string =>
  [...formatSamples(result.samples), formatTuningResult(result)].join('\n')
