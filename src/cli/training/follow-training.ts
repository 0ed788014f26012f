import { tmpdir } from 'node:os'
import { featureFiles } from '../../node/files/feature-files.js'
import { finalWeights, fitOptions } from '../../recipe/build.js'
import type { Recipe } from '../../recipe/recipe.js'
import type { FitOptions } from '../../train/options.js'
import { decideByFirst, type ProcessGroup } from '../../train/process-group.js'
import { Trainer } from '../../train/trainer.js'
import { onInterrupt } from '../interrupts.js'
import type { Io } from '../io.js'
import { type CliProvider, createRuntime } from '../options.js'
import { firstBatch, openTraining } from './open-training.js'
import type { RunFolder } from './run-folder.js'
import { Stopped, stopOnAbort } from './stop-on-abort.js'

/** The part of another process than the first in a training run. */
interface FollowRequest {
  readonly io: Pick<Io, 'onSignal' | 'exit'>
  readonly recipe: Recipe
  /** The run folder, which may be on another machine. */
  readonly folder: RunFolder
  readonly resume: boolean
  readonly provider: CliProvider
  readonly group: ProcessGroup
  readonly shardOptimizer: boolean
}

/**
 * Trains a recipe as a process of an MPI job other than the first: makes the same calls to the trainer as
 * `runTraining`, and writes nothing. Returns whether the run was interrupted.
 */
export async function followTraining(request: FollowRequest): Promise<boolean> {
  const { io, recipe, folder, resume, provider, group, shardOptimizer } = request
  const { model, options, data, validation } = await openTraining(resume ? folder.withStartModel(recipe) : recipe)
  const features = options.features === undefined ? {} : { features: featureFiles(tmpdir()) }
  const runtime = await createRuntime(provider, recipe.threads)
  const interrupts = onInterrupt(io, () => {})
  try {
    const trainer = await Trainer.create(model, {
      ...options,
      ...features,
      runtime,
      processGroup: group,
      shardOptimizer,
    })
    if (resume) await trainer.resume(folder.store)
    for (const set of validation ? [data, validation] : [data]) await trainer.evaluate(firstBatch(set, recipe))
    const { signal } = interrupts
    const fit: FitOptions = {
      ...fitOptions(recipe),
      ...(validation ? { validation: stopOnAbort(validation, signal, group) } : {}),
      signal,
    }
    try {
      if (!trainer.isFinished(fit)) await trainer.train(data, fit)
    } catch (error) {
      if (!(error instanceof Stopped)) throw error
      await trainer.sync()
    }
    const interrupted = !trainer.isFinished(fit)
    if (!interrupted && validation && !(await decideByFirst(group, false)))
      await trainer.evaluate(validation, { weights: finalWeights(recipe) })
    await trainer.dispose()
    return interrupted
  } finally {
    interrupts.release()
    await runtime.dispose()
  }
}
