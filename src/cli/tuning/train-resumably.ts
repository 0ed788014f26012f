import type { DatasetOrStream } from '../../data/stream.js'
import type { Measures } from '../../metric/accumulator.js'
import { checkpointFolder } from '../../node/files/checkpoint-folder.js'
import type { Model } from '../../onnx/model.js'
import type { FitOptions, TrainerOptions } from '../../train/options.js'
import { Trainer } from '../../train/trainer.js'
import { watchEnhancement } from '../../train/watch-enhancement.js'
import { OnnxIreError } from '../../util/errors.js'
import type { TrainingProgress } from '../progress.js'
import { reportToTensorBoard } from '../training/report-to-tensorboard.js'
import { Stopped, stopOnAbort } from '../training/stop-on-abort.js'

/** Seconds between two checkpoints. */
const checkpointSeconds = 60

/** Options of a fine-tuning about its numbers. */
export interface TrackingOptions {
  /** Folder for an event file of TensorBoard. */
  readonly tensorboard?: string
  /** Steps between two measures of every trained tensor. */
  readonly measureEvery?: number
}

/** The training of a fine-tuning. */
interface TuningRun {
  readonly model: Model
  readonly options: TrainerOptions
  readonly train: DatasetOrStream
  readonly validation: DatasetOrStream | undefined
  /** Length in epochs, or in steps. */
  readonly epochs: number
  readonly steps?: number | undefined
  /** Folder of the checkpoints. */
  readonly checkpoints: string
  /** Whether to continue from the newest checkpoint. */
  readonly resume: boolean
  readonly tracking: TrackingOptions
  /** Description of the run for TensorBoard. */
  readonly plan: object
}

/** The trained model after some steps, and measures of held-out data before and after. */
interface TuningOutcome {
  readonly step: number
  readonly tuned: Model
  readonly before: Measures | null
  readonly after: Measures | null
}

/**
 * Trains to the end, or to an interrupt, which saves a checkpoint.
 * @throws OnnxIreError `checkpoint` if `resume` is set and the checkpoint belongs to another run; `io` if there is none
 */
export async function trainResumably(
  { model, options, train, validation, epochs, steps, checkpoints, resume, tracking, plan }: TuningRun,
  progress: TrainingProgress,
  signal: { readonly aborted: boolean },
): Promise<TuningOutcome> {
  const trainer = await Trainer.create(model, options)
  const store = checkpointFolder(checkpoints)
  const heldOut = validation && stopOnAbort(validation, signal)
  const { tensorboard, measureEvery } = tracking
  let board: ReturnType<typeof reportToTensorBoard> | undefined
  let before: Measures | null = null
  let after: Measures | null = null
  try {
    if (heldOut) before = await trainer.evaluate(heldOut)
    if (resume) {
      const resumed = await trainer.resume(store)
      if (!resumed) throw new OnnxIreError('io', `${checkpoints} has no checkpoint: start the run without --resume`)
      for (const { step, error } of resumed.skipped)
        progress.note(`skipping the checkpoint of step ${step}: ${error.message}`)
      progress.note(`resuming from step ${resumed.step}`)
    }
    board = tensorboard === undefined ? undefined : reportToTensorBoard(tensorboard, trainer, { plan })
    const watch = watchEnhancement()
    const fit: FitOptions = {
      ...(steps === undefined ? { totalEpochs: epochs } : { totalSteps: steps }),
      ...(heldOut && { validation: heldOut }),
      checkpoints: { store, everySeconds: checkpointSeconds },
      onFeatures: progress.features,
      ...(measureEvery === undefined ? {} : { measureEvery }),
      async onStep(done) {
        progress.step(done)
        await board?.onStep(done)
        const warning = watch(done)
        if (warning) progress.note(`warning: ${warning}`)
      },
      async onEvaluate(metrics) {
        progress.evaluation(metrics)
        await board?.onEvaluate(metrics)
      },
      signal,
    }
    if (!trainer.isFinished(fit)) await trainer.train(train, fit)
    if (heldOut && !signal.aborted) after = await trainer.evaluate(heldOut)
  } catch (error) {
    if (!(error instanceof Stopped)) throw error
    if (trainer.step > 0) await store.save(trainer.step, trainer.checkpoint())
  } finally {
    board?.finish()
    await trainer.dispose()
    progress.stop()
  }
  return { step: trainer.step, tuned: trainer.export(), before, after }
}
