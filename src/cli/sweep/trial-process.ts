/**
 * The process that trains the trials of a sweep: receives `TrialRequest` messages, answers each with a `TrialReply`.
 * @module
 */

import type { Measures } from '../../metric/accumulator.js'
import type { Recipe } from '../../recipe/recipe.js'
import { readMetric } from '../../train/metric-monitor.js'
import { type ErrorCode, OnnxIreError } from '../../util/errors.js'
import type { CliProvider } from '../options.js'
import { RunFolder } from '../training/run-folder.js'
import { runTraining } from '../training/run-training.js'

/** A trial to train: a run in a folder, resumed if the folder has a checkpoint. */
export interface TrialRequest {
  readonly recipe: Recipe
  readonly folder: string
  readonly provider: CliProvider
  /** Share of the run after which it ends for now. */
  readonly share: number
  /** Validation metric that is the score. A run without it fails at its first evaluation. */
  readonly metric: string
}

/** The end of a trial. */
export type TrialReply =
  | { readonly kind: 'trained'; readonly step: number; readonly validation: Measures | null }
  | { readonly kind: 'interrupted' }
  | { readonly kind: 'failed'; readonly code: ErrorCode | 'unexpected'; readonly message: string }

/** Sent after every step. */
export interface TrialProgress {
  readonly kind: 'progress'
  /** Share of the whole run that is done; undefined for data of unknown length. */
  readonly done: number | undefined
}

let stop: (() => void) | undefined
let isStopping = false

function endRun(): void {
  isStopping = true
  stop?.()
}

process.on('message', (message: TrialRequest | 'stop') => {
  if (message === 'stop') endRun()
  else void trainTrial(message).then((reply) => process.send?.(reply))
})
// The sweep has ended or was killed: the run is saved, and can be resumed.
process.on('disconnect', endRun)
process.on('SIGTERM', endRun)
// Ctrl-C reaches every process of a terminal; the process of the sweep handles it.
process.on('SIGINT', () => {})
process.on('SIGHUP', () => {})

async function trainTrial({ recipe, folder: path, provider, share, metric }: TrialRequest): Promise<TrialReply> {
  if (isStopping) return { kind: 'interrupted' }
  const folder = new RunFolder(path, recipe.checkpoints?.keep)
  const resume = folder.hasCheckpoint
  let sent = 0
  try {
    const { interrupted, step, validation, weights, best } = await runTraining({
      ...{ recipe, folder, resume, force: !resume, provider, share, checkpointSeconds: undefined, memory: undefined },
      io: {
        onSignal(listener) {
          stop = () => listener('SIGTERM')
          if (isStopping) stop()
          return () => {
            stop = undefined
          }
        },
        exit: process.exit,
      },
      progress: {
        step(done) {
          if (performance.now() < sent + 500) return
          sent = performance.now()
          const { totalSteps } = done
          const progress: TrialProgress = {
            kind: 'progress',
            done: totalSteps === undefined ? undefined : (done.step + 1) / totalSteps,
          }
          process.send?.(progress)
        },
        features() {},
        evaluation({ validation }) {
          if (validation) readMetric(validation, metric)
        },
        note() {},
        stop() {},
      },
    })
    if (isStopping) return { kind: 'interrupted' }
    if (!interrupted) return { kind: 'trained', step, validation }
    const evaluations = await folder.readEvaluations()
    const exported = weights === 'best' ? evaluations.find((each) => each.step === best?.step) : evaluations.at(-1)
    return { kind: 'trained', step, validation: exported?.validation ?? null }
  } catch (error) {
    const code = error instanceof OnnxIreError ? error.code : 'unexpected'
    return { kind: 'failed', code, message: (error as Error).message }
  }
}
