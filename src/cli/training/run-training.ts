import { adaptableLayers } from '../../adapter/layers.js'
import { adapterTensors } from '../../adapter/record.js'
import { attempt } from '../../analysis/inspect/tensors.js'
import { addUsage } from '../../data/model/model-usage.js'
import type { DatasetOrStream } from '../../data/stream.js'
import { isFloat } from '../../ir/dtype.js'
import type { Measures } from '../../metric/accumulator.js'
import { featureFiles } from '../../node/files/feature-files.js'
import { listModelFiles } from '../../node/files/model.js'
import { isStandardDomain } from '../../onnx/import/model-nodes.js'
import type { Model } from '../../onnx/model.js'
import { finalWeights } from '../../recipe/build.js'
import { diffRecipes } from '../../recipe/diff.js'
import type { Recipe } from '../../recipe/recipe.js'
import { measuredClassNames, usageOf } from '../../recipe/usage.js'
import type { Runtime } from '../../runtime/runtime.js'
import { summarizeData } from '../../train/checkpoint/checksums.js'
import { freeBatch } from '../../train/model/free-batch.js'
import { batchSizeOf } from '../../train/model/free-batch-axis.js'
import { decideByFirst, type ProcessGroup } from '../../train/process-group.js'
import { Trainer } from '../../train/trainer.js'
import { OnnxIreError } from '../../util/errors.js'
import { formatCount } from '../format.js'
import { loadModel, loadTeacher, modelTitle } from '../inputs/read-recipe.js'
import { createRuntime } from '../options.js'
import { listDataFiles, listInitialFiles, prepareOutputs } from '../outputs.js'
import { checkDiskRoom, type MemoryRoom, measureMemoryRoom, warnOfMemory } from './check-room.js'
import { firstBatch, openInputs, type TrainingInputs } from './open-training.js'
import { moveRunAside, removeReplacedRuns, restoreRun } from './replaced-run.js'
import { foldFolder, RunFolder } from './run-folder.js'
import { runSteps } from './run-steps.js'
import { type RunSummary, summarizeRun } from './run-summary.js'
import type { TrainingRequest, TrainingResult } from './training-request.js'

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

/**
 * Trains in a run folder that this process has locked.
 * @param inputs `preset`: the initial model, if it was built from a preset
 */
async function trainInFolder(
  request: TrainingRequest,
  inputs: TrainingInputs & { readonly preset: Model | undefined },
): Promise<TrainingResult> {
  const { recipe, folder, progress, resume, group } = request
  const { model, preset, options, data, validation, classes, fitted } = inputs
  const warnings: string[] = []
  const warn = (warning: string | undefined) => {
    if (warning === undefined) return
    warnings.push(warning)
    progress.note(`warning: ${warning}`)
  }
  for (const warning of [...inputs.warnings, inputs.tooLong]) warn(warning)
  const memory = request.provider === 'cpu' ? await estimateMemory(request, inputs) : null
  if (memory) warn(warnOfMemory(memory, recipe))
  const runtime = await createRuntime(request.provider, recipe.threads)
  let replaced: string | undefined
  try {
    const trainer = await startTrainer(request, inputs, runtime)
    // A first batch shows whether the data fit the model, before the files of another run are replaced.
    for (const set of validation ? [data, validation] : [data]) await trainer.evaluate(firstBatch(set, recipe))
    const parameters = await trainer.parameters()
    const present = resume ? folder.checkpointBytes : 0
    const keep = recipe.checkpoints?.keep ?? 3
    warn(await checkDiskRoom(folder.path, { model, parameters, options, keep, present }))
    const fitData = {
      training: await summarizeData(data),
      ...(validation ? { validation: await summarizeData(validation) } : {}),
    }
    if (request.force && folder.isUsed) replaced = await moveRunAside(folder.path)
    await folder.begin(fitted, classes, fitData, trainer.step, preset)
    for (const message of warnings) folder.log({ kind: 'warning', step: trainer.step, message })
    const count = Object.values(parameters).reduce((sum, { length }) => sum + length, 0)
    progress.note(describeStart(request, data, count, trainer.step))
    for (const advice of adviseOnModel(recipe, model)) progress.note(advice)
    const onWarning = (message: string) => {
      warn(message)
      folder.log({ kind: 'warning', step: trainer.step, message })
    }
    const { epochs, interrupted } = await runSteps(trainer, inputs, request, onWarning)
    const weights = finalWeights(recipe)
    const summary = summarizeRun(recipe, await folder.readEvaluations())
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
      : await evaluateTrained(trainer, validation, { weights, epochs, summary, recipe, group })
    await trainer.dispose()
    return {
      run: folder.path,
      model: interrupted ? null : folder.tuned,
      weights,
      interrupted,
      step: trainer.step,
      ...summary,
      parameters: count,
      validation: metrics,
      classes: measuredClassNames(recipe, classes),
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

/** Creates the trainer of a run, and resumes from its last checkpoint, as the request says. */
async function startTrainer(
  { recipe, folder, progress, resume, group, shardOptimizer = false }: TrainingRequest,
  { model, initial, options }: TrainingInputs,
  runtime: Runtime,
): Promise<Trainer> {
  if (recipe.freeBatch && !resume) {
    const { fixed } = await freeBatch(initial, { runtime })
    if (fixed !== null)
      progress.note(`the model was fixed at batches of ${fixed}, and now takes any number of examples`)
  }
  const trainer = await Trainer.create(model, { ...options, runtime, processGroup: group, shardOptimizer })
  if (!resume) return trainer
  for (const { step, error } of (await trainer.resume(folder.store))?.skipped ?? [])
    progress.note(`skipping the checkpoint of step ${step}: ${error.message}`)
  return trainer
}

/** The first note of a run. @param count number of trained elements */
function describeStart(
  { recipe, folder, group }: TrainingRequest,
  data: DatasetOrStream,
  count: number,
  step: number,
): string {
  const from = step > 0 ? `, resuming from step ${step}` : ''
  const processes = group ? `, in ${group.size} processes` : ''
  return `training ${count} parameters of ${modelTitle(recipe)} on ${data.length ?? 'a stream of'} examples in ${folder.path}${from}${processes}`
}

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

/** The memory that a run needs and may take. */
function estimateMemory(
  { recipe, group, shardOptimizer, memory }: TrainingRequest,
  { model, options, data }: TrainingInputs,
): Promise<MemoryRoom> {
  const batchSize = Math.ceil((recipe.batchSize ?? 32) / (group?.size ?? 1))
  return measureMemoryRoom(
    model,
    { ...options, batchSize, processGroup: group, shardOptimizer: shardOptimizer === true },
    firstBatch(data, { ...recipe, batchSize }),
    memory,
  )
}

/** Settings of a recipe that may be better for a model than their defaults. */
function adviseOnModel(recipe: Recipe, model: Model): readonly string[] {
  const fixed = recipe.freeBatch === undefined ? batchSizeOf(model) : null
  const integers = adapterTensors(model).length > 0 ? [] : findIntegerLayers(model)
  return [
    ...(recipe.batchNorm === undefined && hasNorms(model)
      ? [
          'batchNorm is not set: norms keep their stored statistics; compare with --set batchNorm=trained, which is often better for images unlike those of the pretraining',
        ]
      : []),
    ...(fixed === null
      ? []
      : [
          `the file of the model fixes batches of ${fixed}, which a step computes one after the other; --set freeBatch=true computes whole batches`,
        ]),
    ...(integers.length === 0
      ? []
      : [
          `the weights of ${formatCount(integers.length, 'layer')} are integers and stay as they are (${integers.slice(0, 3).join(', ')}${integers.length > 3 ? ', ...' : ''}); --set adapter.r=8 trains an adapter`,
        ]),
  ]
}

/** Names of the layers with quantized weights, of models that `adaptableLayers` reads. */
const findIntegerLayers = (model: Model): readonly string[] =>
  (attempt(() => adaptableLayers(model)).value ?? []).flatMap(({ module, weight }) =>
    isFloat(weight.dtype) ? [] : [module],
  )

const hasNorms = ({ proto }: Model): boolean =>
  proto.graph?.node.some((node) => node.opType === 'BatchNormalization' && isStandardDomain(node)) === true

/** Throws `invalid-option` if a new run would be mixed with one in its folder, or with those of a cross-validation. */
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
