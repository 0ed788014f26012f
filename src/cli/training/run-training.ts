import { batchCount } from '../../data/batches.js'
import { subset } from '../../data/dataset.js'
import { describeSkipped } from '../../data/image/image-files.js'
import { addUsage } from '../../data/model/model-usage.js'
import type { DatasetOrStream } from '../../data/stream.js'
import { takeExamples } from '../../data/stream.js'
import { transform } from '../../data/transform.js'
import { mapArrays } from '../../ir/float-array.js'
import type { Measures } from '../../metric/accumulator.js'
import type { ClassNames } from '../../node/data/data-source.js'
import { RecipeData, resolveHead } from '../../node/data/recipe-data.js'
import { featureFiles } from '../../node/files/feature-files.js'
import { listModelFiles } from '../../node/files/model.js'
import { isStandardDomain } from '../../onnx/import/model-nodes.js'
import type { Model } from '../../onnx/model.js'
import { finalWeights, fitOptions, trainerOptions } from '../../recipe/build.js'
import { diffRecipes } from '../../recipe/diff.js'
import type { Recipe } from '../../recipe/recipe.js'
import { namesOfTargets, usageOf } from '../../recipe/usage.js'
import { summarizeData } from '../../train/checkpoint/checksums.js'
import type { WeightSelection } from '../../train/checkpoint/model-from-checkpoint.js'
import { MetricMonitor, type MonitorOptions, type MonitorState } from '../../train/metric-monitor.js'
import { freeBatch } from '../../train/model/free-batch.js'
import { batchSizeOf } from '../../train/model/free-batch-axis.js'
import { createStartModel } from '../../train/model/start-model.js'
import type { FitOptions, IntervalMetrics, TrainerOptions } from '../../train/options.js'
import { decideByAny, decideByFirst, type ProcessGroup } from '../../train/process-group.js'
import type { TensorMeasures } from '../../train/tensor-measures.js'
import { Trainer } from '../../train/trainer.js'
import { watchEnhancement } from '../../train/watch-enhancement.js'
import { OnnxIreError } from '../../util/errors.js'
import { loadModel, loadTeacher, modelTitle } from '../inputs/read-recipe.js'
import { onInterrupt } from '../interrupts.js'
import type { Io } from '../io.js'
import { type CliProvider, createRuntime } from '../options.js'
import { listDataFiles, listInitialFiles, prepareOutputs } from '../outputs.js'
import type { TrainingProgress } from '../progress.js'
import { checkDiskRoom, type MemoryRoom, measureMemoryRoom, warnOfMemory } from './check-room.js'
import { moveRunAside, removeReplacedRuns, restoreRun } from './replaced-run.js'
import { reportToTensorBoard } from './report-to-tensorboard.js'
import { foldFolder, RunFolder } from './run-folder.js'
import { RequestReader } from './run-request.js'

/** A training run to carry out. */
export interface TrainingRequest {
  /** Signals that interrupt the run. */
  readonly io: Pick<Io, 'onSignal' | 'exit'>
  readonly recipe: Recipe
  readonly folder: RunFolder
  readonly progress: TrainingProgress
  /** Resume from the newest checkpoint in the folder. */
  readonly resume: boolean
  /** Replace the run in the folder. */
  readonly force: boolean
  readonly provider: CliProvider
  /** Seconds between two checkpoints; undefined for the setting of the recipe. */
  readonly checkpointSeconds: number | undefined
  /** Bytes that the run may take; undefined for what is left of the container or the machine. */
  readonly memory: number | undefined
  /** Steps between two measurements of the trained tensors; undefined for none. */
  readonly measureEvery?: number | undefined
  /** Folder of an event file of TensorBoard; undefined for none. */
  readonly tensorboard?: string | undefined
  /**
   * Share of the run after which it ends as if interrupted, at the first evaluation from there. Default: the whole run.
   */
  readonly share?: number
  /** The processes of an MPI job, of which this is the first; the others call `followTraining`. */
  readonly group?: ProcessGroup | undefined
  /** Whether the optimizer's state is divided among these processes. */
  readonly shardOptimizer?: boolean
}

/** Result of a training run, printed with --json. */
export interface TrainingResult extends RunSummary {
  /** The run folder. */
  readonly run: string
  /** Path of the trained model; null if the run was interrupted. */
  readonly model: string | null
  /** Weights in the exported model. */
  readonly weights: WeightSelection
  readonly interrupted: boolean
  /** Steps since the beginning of the run, resumed parts included. */
  readonly step: number
  /** Number of trained parameters. */
  readonly parameters: number
  /** Metrics of the trained model on the validation data; null without such data, or if the run was interrupted. */
  readonly validation: Measures | null
  /** Class names of the labels, by tensor. */
  readonly classes: ClassNames
  /** Evaluations of this call. */
  readonly epochs: readonly IntervalMetrics[]
  readonly runtime: string
  /** Estimated memory of the run, and the memory that it may take; null on other devices than the CPU. */
  readonly memory: MemoryRoom | null
  /** Warnings before the first step, and of a loss that rises when IRE begins. */
  readonly warnings: readonly string[]
}

/**
 * Trains a recipe in a run folder. Errors that can be found before training are thrown before the folder is changed.
 */
export async function runTraining(request: TrainingRequest): Promise<TrainingResult> {
  const { recipe, folder, resume } = request
  let unlock = folder.exists ? await folder.lock() : undefined
  try {
    if (unlock && (await folder.restoreReplaced()))
      request.progress.note(
        `restored the run in ${folder.path}: the run that was to replace it ended before its first checkpoint`,
      )
    await checkRunFolder(request)
    const start = resume ? folder.withStartModel(recipe) : recipe
    const model = await loadModel(start)
    const teacher = await loadTeacher(recipe)
    await prepareOutputs(await folder.outputs(typeof start.model !== 'string', request.force), async () => [
      ...listInitialFiles(start, model),
      ...(teacher ? listModelFiles(recipe.teacher!.model, teacher) : []),
      ...(await listDataFiles(recipe)),
    ])
    const { options, ...inputs } = await openInputs(recipe, model, teacher)
    if (!unlock) {
      unlock = await folder.lock()
      await checkRunFolder(request) // another process may have trained in the folder in the meantime
    }
    return await trainInFolder(request, {
      ...inputs,
      preset: typeof start.model === 'string' ? undefined : model,
      options: { ...options, ...(options.features === undefined ? {} : { features: featureFiles(folder.path) }) },
    })
  } finally {
    unlock?.()
  }
}

/** Everything that a training run reads. */
interface TrainingInputs {
  /** The model with its new head and its adapter. */
  readonly model: Model
  /** The model before these changes. */
  readonly initial: Model
  readonly options: Omit<TrainerOptions, 'runtime'>
  readonly data: DatasetOrStream
  readonly validation: DatasetOrStream | undefined
  readonly classes: ClassNames
  /** The recipe with the statistics of the training data. */
  readonly fitted: Recipe
  /** Files in the folder of the training data that are not read. */
  readonly skipped: readonly string[]
}

/** Opens the model and the data of a recipe, for a run without a folder. */
export const openTraining = async (recipe: Recipe): Promise<TrainingInputs> =>
  openInputs(recipe, await loadModel(recipe), await loadTeacher(recipe))

async function openInputs(given: Recipe, initial: Model, teacher: Model | undefined): Promise<TrainingInputs> {
  const recipe = await resolveHead(given, initial)
  const { model, ...choice } = await createStartModel(initial, recipe)
  const recipeData = await RecipeData.open(recipe, initial, model)
  const data = await recipeData.train()
  const validation = await recipeData.validation()
  const classes = await recipeData.classes()
  const fitted = await recipeData.withStatistics(recipe)
  const all = trainerOptions(await recipeData.inSteps(), { teacher })
  const { freeBatch: _freeBatch, untie: _untie, head: _head, adapter: _adapter, ...options } = all
  return {
    model,
    initial,
    options: { ...options, ...choice },
    data,
    validation,
    classes,
    fitted,
    skipped: await recipeData.skipped(),
  }
}

/** @param inputs `preset`: the initial model, if it was built from a preset */
async function trainInFolder(
  request: TrainingRequest,
  inputs: TrainingInputs & { readonly preset: Model | undefined },
): Promise<TrainingResult> {
  const { recipe, folder, progress, resume, group, shardOptimizer = false } = request
  const { model, initial, preset, options, data, validation, classes, fitted, skipped } = inputs
  const warnings: string[] = []
  const warn = (warning: string | undefined) => {
    if (warning === undefined) return
    warnings.push(warning)
    progress.note(`warning: ${warning}`)
  }
  warn(describeSkipped(skipped))
  const isOnCpu = request.provider === 'cpu'
  const batchSize = Math.ceil((recipe.batchSize ?? 32) / (group?.size ?? 1))
  const memory = isOnCpu
    ? await measureMemoryRoom(
        model,
        { ...options, batchSize, processGroup: group, shardOptimizer },
        firstBatch(data, { ...recipe, batchSize }),
        request.memory,
      )
    : null
  if (memory) warn(warnOfMemory(memory, recipe))
  const runtime = await createRuntime(request.provider, recipe.threads)
  let replaced: string | undefined
  try {
    if (recipe.freeBatch && !resume) {
      const { fixed } = await freeBatch(initial, { runtime })
      if (fixed !== null)
        progress.note(`the model was fixed at batches of ${fixed}, and now takes any number of examples`)
    }
    const trainer = await Trainer.create(model, { ...options, runtime, processGroup: group, shardOptimizer })
    const resumed = resume ? await trainer.resume(folder.store) : null
    for (const { step, error } of resumed?.skipped ?? [])
      progress.note(`skipping the checkpoint of step ${step}: ${error.message}`)
    // A first batch shows whether the data fit the model, before the files of another run are replaced.
    for (const set of validation ? [data, validation] : [data]) await trainer.evaluate(firstBatch(set, recipe))
    const parameters = await trainer.parameters()
    const present = resume ? folder.checkpointBytes : 0
    const keep = recipe.checkpoints?.keep ?? 3
    warn(await checkDiskRoom(folder.path, { model, parameters, options, keep, present }))
    const summary = {
      training: await summarizeData(data),
      ...(validation ? { validation: await summarizeData(validation) } : {}),
    }
    if (request.force && folder.isUsed) replaced = await moveRunAside(folder.path)
    await folder.begin(fitted, classes, summary, trainer.step, preset)
    for (const message of warnings) folder.log({ kind: 'warning', step: trainer.step, message })
    const from = resumed === null ? '' : `, resuming from step ${trainer.step}`
    const count = Object.values(parameters).reduce((sum, { length }) => sum + length, 0)
    progress.note(
      `training ${count} parameters of ${modelTitle(recipe)} on ${data.length ?? 'a stream of'} examples in ${folder.path}${from}${describeGroup(group)}`,
    )
    if (recipe.batchNorm === undefined && hasNorms(model))
      progress.note(
        'batchNorm is not set: norms keep their stored statistics; compare with --set batchNorm=trained, which is often better for images unlike those of the pretraining',
      )
    const fixed = recipe.freeBatch === undefined ? batchSizeOf(model) : null
    if (fixed !== null)
      progress.note(
        `the file of the model fixes batches of ${fixed}, which a step computes one after the other; --set freeBatch=true computes whole batches`,
      )
    const onWarning = (message: string) => {
      warn(message)
      folder.log({ kind: 'warning', step: trainer.step, message })
    }
    const { epochs, interrupted } = await runSteps(trainer, data, validation, request, onWarning)
    const weights = finalWeights(recipe)
    const results = summarizeRun(recipe, await folder.readEvaluations())
    if (!interrupted) {
      const tuned = addUsage(trainer.export({ weights }), usageOf(recipe, classes))
      await folder.writeTuned(tuned, trainer.step)
      await removeReplacedRuns(folder.path)
    } else if (replaced !== undefined) {
      progress.note(`the run that is being replaced is in ${replaced} until this run ends`)
    }
    replaced = undefined
    const metrics = interrupted
      ? null
      : await evaluateTrained(trainer, validation, { weights, epochs, summary: results, recipe, group })
    await trainer.dispose()
    return {
      run: folder.path,
      model: interrupted ? null : folder.tuned,
      weights,
      interrupted,
      step: trainer.step,
      ...results,
      parameters: count,
      validation: metrics,
      classes: namesOfTargets(recipe, classes),
      epochs,
      runtime: runtime.description,
      memory,
      warnings,
    }
  } catch (error) {
    throw replaced === undefined ? error : await afterFailure(error, folder, replaced)
  } finally {
    progress.stop()
    await runtime.dispose()
  }
}

const describeGroup = (group: ProcessGroup | undefined): string => (group ? `, in ${group.size} processes` : '')

/**
 * Restores the run that a failed run was to replace, unless the failed one can be resumed. Returns the error with a
 * note about it.
 */
async function afterFailure(error: unknown, folder: RunFolder, replaced: string): Promise<unknown> {
  let note = `the run that was to be replaced is in ${replaced} until a run in ${folder.path} ends`
  if (!folder.hasCheckpoint) {
    await restoreRun(folder.path, replaced)
    note = 'the run that was to be replaced is restored'
  }
  return error instanceof OnnxIreError
    ? new OnnxIreError(error.code, `${error.message}; ${note}`, { cause: error })
    : error
}

const hasNorms = ({ proto }: Model): boolean =>
  proto.graph?.node.some((node) => node.opType === 'BatchNormalization' && isStandardDomain(node)) === true

/** Throws `invalid-option` if a folder holds a run, or those of a cross-validation, that a new run would be mixed with. */
export function checkNewRunFolder(folder: RunFolder, force: boolean): void {
  if (!folder.isUsed && new RunFolder(foldFolder(folder.path, 0)).isUsed)
    throw new OnnxIreError(
      'invalid-option',
      `${folder.path} holds the runs of a cross-validation: choose another folder with --out`,
    )
  if (!folder.isUsed || force) return
  throw new OnnxIreError(
    'invalid-option',
    `${folder.path} already holds a run: resume it with --resume, replace it with --force, or choose another folder with --out`,
  )
}

async function checkRunFolder({ folder, recipe, resume, force }: TrainingRequest): Promise<void> {
  if (!resume) return checkNewRunFolder(folder, force)
  const changed = diffRecipes(await folder.readRecipe(), recipe)
  if (changed.length === 0) return
  throw new OnnxIreError(
    'invalid-option',
    `the run in ${folder.path} has another recipe, which differs in ${changed.join(', ')}; resume it with its own recipe ` +
      `(${folder.path}/recipe.json), or start a new run with --out`,
  )
}

export const firstBatch = (data: DatasetOrStream, { batchSize = 32 }: Recipe): DatasetOrStream =>
  'batch' in data ? subset(data, { end: Math.min(batchSize, data.length) }) : takeExamples(data, batchSize)

/**
 * Metrics of the exported weights on the validation data: those of the last evaluation, if it measured the same
 * weights.
 */
async function evaluateTrained(
  trainer: Trainer,
  validation: DatasetOrStream | undefined,
  {
    weights,
    epochs,
    summary,
    recipe,
    group,
  }: Pick<TrainingResult, 'weights' | 'epochs'> & {
    summary: RunSummary
    recipe: Recipe
    group: ProcessGroup | undefined
  },
): Promise<Measures | null> {
  if (!validation) return null
  const last = epochs.at(-1)
  const evaluated = recipe.ema === undefined ? 'last' : 'ema'
  const same = weights === 'best' ? summary.best?.step === last?.step : weights === evaluated
  const known = (same && last?.validation) || undefined
  if (group) await decideByFirst(group, known !== undefined)
  return known ?? (await trainer.evaluate(validation, { weights }))
}

const noTargets =
  'no target counts in the loss of these steps, so nothing was learned: see masks, weights and ignoreIndex; ctc leaves out lines with more labels than the model has steps'

/** Thrown by the validation data to end an evaluation after an interrupt. */
export class Stopped extends Error {}

async function runSteps(
  trainer: Trainer,
  data: DatasetOrStream,
  validation: DatasetOrStream | undefined,
  request: TrainingRequest,
  onWarning: (message: string) => void,
) {
  const { recipe, folder, progress, measureEvery, tensorboard, group } = request
  const watch = watchEnhancement()
  const isAtShare = shareReached(recipe, data, request.share ?? 1)
  const before = (await folder.readEvaluations()).at(-1)
  if (before && isAtShare(before)) return { epochs: [], interrupted: true }
  const board = tensorboard === undefined ? undefined : reportToTensorBoard(tensorboard, trainer, { recipe })
  const last = recipe.localSteps ? 'round of local steps' : 'step'
  const interrupts = onInterrupt(request.io, () =>
    progress.note(`stopping after this ${last}; press Ctrl-C again to quit at once`),
  )
  const requests = new RequestReader(folder.path)
  const signal = {
    get aborted() {
      return interrupts.signal.aborted || requests.isStopDue
    },
  }
  const epochs: IntervalMetrics[] = []
  let isPaused = false
  const options: FitOptions = {
    ...fitOptions(recipe),
    ...(validation ? { validation: stopOnAbort(validation, signal, group) } : {}),
    signal,
    checkpoints: { store: folder.store, ...checkpointSchedule(request) },
    ...(measureEvery === undefined ? {} : { measureEvery }),
    onFeatures: progress.features,
    async onStep(done) {
      const { step, epoch, loss, lr, gradientNorm, kappa, refreshed, flatShare, seconds, tensors } = done
      folder.log({
        kind: 'step',
        ...{ step: step + 1, epoch, loss, lr, gradientNorm, kappa, refreshed, flatShare, seconds },
      })
      if (tensors) folder.log({ kind: 'tensors', step: step + 1, tensors: mapArrays(tensors, roundMeasures) })
      await board?.onStep(done)
      progress.step(done)
      const warning = watch(done)
      if (warning) onWarning(warning)
      return requests.takeSave() ? 'save' : undefined
    },
    async onEvaluate(metrics) {
      epochs.push(metrics)
      // Other losses that are not finite end the training.
      if (Number.isNaN(metrics.loss)) onWarning(noTargets)
      const time = new Date().toISOString()
      folder.log({ kind: 'epoch', ...metrics, memory: process.memoryUsage.rss(), time })
      await board?.onEvaluate(metrics)
      progress.evaluation(metrics)
      isPaused = isAtShare(metrics)
      return isPaused ? 'stop' : undefined
    },
  }
  try {
    if (!trainer.isFinished(options)) await trainer.train(data, options)
  } catch (error) {
    if (!(error instanceof Stopped)) throw error
    await trainer.sync()
    await folder.store.save(trainer.step, trainer.checkpoint())
  } finally {
    interrupts.release()
    board?.finish()
  }
  // A signal may have reached another process of the group only.
  return { epochs, interrupted: group ? !trainer.isFinished(options) : signal.aborted || isPaused }
}

/** Returns whether a share of a run below 1 has been trained at an evaluation. */
function shareReached({ steps, epochs, batchSize = 32 }: Recipe, data: DatasetOrStream, share: number) {
  const stepsPerEpoch = batchCount(data, { batchSize })
  const total = steps ?? (stepsPerEpoch === undefined ? undefined : epochs! * stepsPerEpoch)
  return ({ step, epoch }: IntervalMetrics): boolean => {
    const done = total === undefined ? (epoch + 1) / epochs! : step / total
    // The shares of successive halving are quotients, which are rounded.
    return share < 1 && done < 1 && done > share - 1e-9
  }
}

/** Measures with five significant digits, since a model may have hundreds of tensors. */
const roundMeasures = (measures: TensorMeasures): object =>
  Object.fromEntries(
    Object.entries(measures).map(([name, value]) => [name, value === null ? null : Number(value.toPrecision(5))]),
  )

function checkpointSchedule({ recipe: { checkpoints = {} }, checkpointSeconds }: TrainingRequest) {
  const { everySteps } = checkpoints
  const everySeconds = checkpointSeconds ?? checkpoints.everySeconds ?? (everySteps === undefined ? 60 : undefined)
  return {
    ...(everySteps === undefined ? {} : { everySteps }),
    ...(everySeconds === undefined ? {} : { everySeconds }),
  }
}

/**
 * Data that throw `Stopped` after an interrupt, since a whole evaluation may take too long to wait for: in all
 * processes of a group at the same batch.
 */
export const stopOnAbort = (
  data: DatasetOrStream,
  signal: { readonly aborted: boolean },
  group?: ProcessGroup,
): DatasetOrStream =>
  transform(data, async (batch) => {
    if (group ? await decideByAny(group, signal.aborted) : signal.aborted) throw new Stopped()
    return batch
  })

/** Validation results of a whole run, resumed parts included. */
interface RunSummary {
  /** The best evaluation by the monitored metric; null if no metric is monitored. */
  readonly best: { readonly metric: string; readonly value: number; readonly step: number } | null
  /** Number of evaluations without improvement that stopped the run early; else null. */
  readonly stoppedAfter: number | null
}

/** Summarizes a run. @param evaluations all evaluations of the run in order */
function summarizeRun({ best, earlyStopping }: Recipe, evaluations: readonly IntervalMetrics[]): RunSummary {
  const bestOptions = best === true ? {} : best || undefined
  const monitored = bestOptions ?? earlyStopping
  const state = monitored && finalState(monitored, evaluations)
  const waited = earlyStopping && finalState(earlyStopping, evaluations)?.waited
  return {
    best: state ? { metric: monitored?.metric ?? 'loss', value: state.value, step: state.step } : null,
    stoppedAfter: earlyStopping && waited !== undefined && waited >= earlyStopping.patience ? waited : null,
  }
}

function finalState(options: MonitorOptions, evaluations: readonly IntervalMetrics[]): MonitorState | null {
  const monitor = new MetricMonitor(options)
  for (const { validation, step } of evaluations) if (validation) monitor.add(validation, step)
  return monitor.state
}
