import { type Dataset, subset } from '../data/dataset.js'
import { OnnxIreError } from '../errors.js'
import { readModel, writeModel } from '../node/model.js'
import { node } from '../node/runtime.js'
import { lengthOf, trainerOptions } from '../recipe/build.js'
import { differences } from '../recipe/difference.js'
import type { Recipe } from '../recipe/recipe.js'
import type { Measures } from '../train/metrics.js'
import { type EpochMetrics, type StepProgress, Trainer } from '../train/trainer.js'
import { openData } from './data.js'
import { onInterrupt } from './interrupts.js'
import { refuseOverwriting } from './overwriting.js'
import type { Progress } from './progress.js'
import type { RunFolder } from './run-folder.js'

export interface TrainingCall {
  readonly recipe: Recipe
  readonly folder: RunFolder
  readonly progress: Progress
  /** Go on from the folder's checkpoint. */
  readonly resume: boolean
  /** Take the place of another run. */
  readonly force: boolean
  /** Seconds between two checkpoints within an epoch. */
  readonly checkpointSeconds: number
}

export interface TrainingResult {
  /** The run folder. */
  readonly run: string
  /** The trained model; null when the run was interrupted. */
  readonly model: string | null
  readonly interrupted: boolean
  /** Steps done since the beginning. */
  readonly step: number
  /** How many numbers were trained. */
  readonly parameters: number
  /** The held-out data at the end; null without such data, and when the run was interrupted. */
  readonly validation: Measures | null
  /** The epochs of this call. */
  readonly epochs: readonly EpochMetrics[]
  readonly runtime: string
}

/** Carries out a recipe in a run folder. Whatever can be found wrong is found before the folder is touched. */
export async function carryOut(call: TrainingCall): Promise<TrainingResult> {
  const { recipe, folder, progress, resume } = call
  await refuseConflict(call)
  const model = await readModel(recipe.model)
  await refuseOverwriting(recipe.model, folder.tuned)
  const data = await openData('data.train', recipe.data.train, model, recipe.loss)
  const { validation: source } = recipe.data
  const validation = source && (await openData('data.validation', source, model, recipe.loss))
  await folder.prepare()
  const runtime = node({ threads: recipe.threads })
  try {
    const trainer = await Trainer.create(model, { ...trainerOptions(recipe), runtime })
    if (resume && folder.hasCheckpoint) trainer.restore(await folder.checkpoint())
    // What does not fit the model shows in the first examples: before another run's files are replaced.
    for (const set of validation ? [data, validation] : [data]) await trainer.evaluate(firstBatch(set, recipe))
    await folder.begin(recipe, trainer.step)
    const begun = trainer.step === 0 ? '' : `, going on from step ${trainer.step}`
    progress.note(
      `training ${sizeOf(trainer)} parameters of ${recipe.model} on ${data.length} examples in ${folder.path}${begun}`,
    )
    const { epochs, interrupted } = await followed(trainer, data, validation, call)
    await folder.save(trainer.checkpoint())
    if (!interrupted) await writeModel(folder.tuned, trainer.export())
    // A run that was interrupted in its last evaluation has no epoch left to evaluate it.
    const missing = !interrupted && validation && epochs.length === 0
    const held = missing ? await trainer.evaluate(validation) : interrupted ? undefined : epochs.at(-1)?.validation
    await trainer.dispose()
    return {
      run: folder.path,
      model: interrupted ? null : folder.tuned,
      interrupted,
      step: trainer.step,
      parameters: sizeOf(trainer),
      validation: held ?? null,
      epochs,
      runtime: runtime.description,
    }
  } finally {
    progress.stop()
    await runtime.dispose()
  }
}

async function refuseConflict({ folder, recipe, resume, force }: TrainingCall): Promise<void> {
  if (!resume) {
    if (!folder.isUsed || force) return
    throw new OnnxIreError(
      'invalid-option',
      `${folder.path} holds a run already: --resume goes on with it, --force starts over and replaces it, --out takes another folder`,
    )
  }
  const different = differences(await folder.recipe(), recipe)
  if (different.length === 0) return
  throw new OnnxIreError(
    'invalid-option',
    `the run in ${folder.path} is another one; its recipe differs in ${different.join(', ')}. Resume it with its own recipe ` +
      `(${folder.path}/recipe.json), or start a new run with --out`,
  )
}

const firstBatch = (data: Dataset, { batchSize = 32 }: Recipe): Dataset =>
  subset(data, { end: Math.min(batchSize, data.length) })

const sizeOf = ({ parameters }: Trainer): number =>
  Object.values(parameters).reduce((sum, { length }) => sum + length, 0)

/** Thrown out of an evaluation that an interrupt cuts short. */
class Stopped extends Error {}

async function followed(trainer: Trainer, data: Dataset, validation: Dataset | undefined, call: TrainingCall) {
  const { recipe, folder, progress, checkpointSeconds } = call
  const interrupts = onInterrupt(() => progress.note('stopping after this step; once more to quit at once'))
  const { signal } = interrupts
  const epochs: EpochMetrics[] = []
  let saved = performance.now()
  let [saving, failure]: [boolean, unknown] = [false, undefined]
  /** Training goes on meanwhile. One at a time, each being a copy of everything; the last one is saved by the caller. */
  const save = () => {
    if (saving) return
    saved = performance.now()
    saving = true
    folder
      .save(trainer.checkpoint())
      .catch((error) => {
        failure ??= error
      })
      .finally(() => {
        saving = false
      })
  }
  const onStep = (done: StepProgress) => {
    if (failure) throw failure
    const { step, epoch, loss, lr, gradientNorm, kappa, refreshed, flatShare, seconds } = done
    folder.log({
      kind: 'step',
      ...{ step: step + 1, epoch, loss, lr, gradientNorm, kappa, refreshed, flatShare, seconds },
    })
    progress.step(done)
    if (performance.now() - saved > 1000 * checkpointSeconds) save()
  }
  const heldOut = validation && stoppable(validation, signal)
  try {
    const options = { ...lengthOf(recipe), onStep, signal, ...(heldOut ? { validation: heldOut } : {}) }
    for await (const metrics of trainer.fit(data, options)) {
      epochs.push(metrics)
      folder.log({ kind: 'epoch', ...metrics })
      progress.epoch(metrics)
      save()
    }
  } catch (error) {
    if (!(error instanceof Stopped)) throw error
  } finally {
    interrupts.release()
  }
  if (failure) throw failure
  return { epochs, interrupted: signal.aborted }
}

/** A data set that gives out nothing once a stop is asked for: an evaluation may take longer than a person waits. */
const stoppable = (data: Dataset, signal: { readonly aborted: boolean }): Dataset => ({
  length: data.length,
  batch(indices) {
    if (signal.aborted) throw new Stopped()
    return data.batch(indices)
  },
})
