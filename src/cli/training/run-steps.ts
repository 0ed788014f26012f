import { batchCount } from '../../data/batches.js'
import type { DatasetOrStream } from '../../data/stream.js'
import { mapArrays } from '../../ir/float-array.js'
import { fitOptions } from '../../recipe/build.js'
import type { Recipe } from '../../recipe/recipe.js'
import type { FitOptions, IntervalMetrics } from '../../train/options.js'
import type { TensorMeasures } from '../../train/tensor-measures.js'
import type { Trainer } from '../../train/trainer.js'
import { watchEnhancement } from '../../train/watch-enhancement.js'
import { onInterrupt } from '../interrupts.js'
import type { TrainingInputs } from './open-training.js'
import { reportToTensorBoard } from './report-to-tensorboard.js'
import { RequestReader } from './run-request.js'
import { Stopped, stopOnAbort } from './stop-on-abort.js'
import type { TrainingRequest } from './training-request.js'

const noTargets =
  'no target counts in the loss of these steps, so nothing was learned: see masks, weights and ignoreIndex; ctc leaves out lines with more labels than the model has steps'

/**
 * Takes the steps of a run, logging them and saving checkpoints, until it ends or is interrupted.
 * @param onWarning receives warnings, such as that of a loss that rises after IRE begins
 */
export async function runSteps(
  trainer: Trainer,
  { data, validation, tooLong }: Pick<TrainingInputs, 'data' | 'validation' | 'tooLong'>,
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
  // Before training, `tooLong` has warned of the training data.
  const unwarned = ({ validation, ...training }: IntervalMetrics) => ({
    ...(tooLong === undefined ? { training } : {}),
    validation,
  })
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
      else if (epochs.length === 1) for (const text of describeTooLong(unwarned(metrics))) onWarning(text)
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

/** Warnings of lines that ctc leaves out. */
const describeTooLong = (measured: Readonly<Record<string, object | undefined>>): string[] =>
  Object.entries(measured).flatMap(([data, measures = {}]) =>
    Object.entries(measures).flatMap(([name, number]) =>
      /(^|\/)tooLong$/.test(name)
        ? [
            `ctc leaves out ${number} of the ${data} examples${data === 'training' ? ' of these steps' : ''}: they have more labels than the model has steps for them; use wider images or longer sounds, or remove them`,
          ]
        : [],
    ),
  )

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
