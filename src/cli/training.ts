import { type Dataset, subset } from '../data/dataset.js'
import { OnnxIreError } from '../errors.js'
import type { Measures } from '../metric/tally.js'
import { readModel, writeModel } from '../node/model.js'
import { node } from '../node/runtime.js'
import { lengthOf, trainerOptions } from '../recipe/build.js'
import { differences } from '../recipe/difference.js'
import type { Recipe } from '../recipe/recipe.js'
import type { FitOptions, RoundMetrics } from '../train/options.js'
import { Trainer } from '../train/trainer.js'
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
  readonly epochs: readonly RoundMetrics[]
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
    const resumed = resume ? await trainer.resume(folder.store) : null
    for (const { step, error } of resumed?.skipped ?? [])
      progress.note(`passing over the checkpoint of step ${step}: ${error.message}`)
    // What does not fit the model shows in the first examples: before another run's files are replaced.
    for (const set of validation ? [data, validation] : [data]) await trainer.evaluate(firstBatch(set, recipe))
    await folder.begin(recipe, trainer.step)
    const begun = resumed === null ? '' : `, going on from step ${trainer.step}`
    progress.note(
      `training ${sizeOf(trainer)} parameters of ${recipe.model} on ${data.length} examples in ${folder.path}${begun}`,
    )
    const { epochs, interrupted } = await followed(trainer, data, validation, call)
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
  const epochs: RoundMetrics[] = []
  const heldOut = validation && stoppable(validation, signal)
  const options: FitOptions = {
    ...lengthOf(recipe),
    ...(heldOut ? { validation: heldOut } : {}),
    signal,
    checkpoints: { store: folder.store, everySeconds: checkpointSeconds },
    onStep(done) {
      const { step, epoch, loss, lr, gradientNorm, kappa, refreshed, flatShare, seconds } = done
      folder.log({
        kind: 'step',
        ...{ step: step + 1, epoch, loss, lr, gradientNorm, kappa, refreshed, flatShare, seconds },
      })
      progress.step(done)
    },
    onEvaluate(metrics) {
      epochs.push(metrics)
      folder.log({ kind: 'epoch', ...metrics })
      progress.epoch(metrics)
    },
  }
  try {
    for await (const _ of trainer.fit(data, options));
  } catch (error) {
    if (!(error instanceof Stopped)) throw error
    await folder.store.save(trainer.step, trainer.checkpoint())
  } finally {
    interrupts.release()
  }
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
