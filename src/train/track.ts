import type { FitOptions, IntervalMetrics, StepProgress } from './options.js'

/** Numbers by name, as trackers show them: `train/loss`. */
export type TrackedValues = Readonly<Record<string, number>>

/** A run of an experiment tracker: that of Weights & Biases or Trackio, `tensorBoard(folder)`, `csvLog(file)`. */
export interface Tracker {
  /** Adds numbers of a step. */
  log(values: TrackedValues, step: number): unknown
}

/**
 * Returns callbacks of `fit` that send all numbers of a run to trackers, whose own functions begin and end their runs:
 * `train/<name>` after every step, `<name>/<tensor>` of the tensors that `measureEvery` selects, and `epoch/<name>` and
 * `validation/<metric>` after every evaluation. Numbers that are not finite are left out.
 *
 * @example
 * await wandb.init({ project: 'digits', config: { lr: 1e-3 } })
 * await trainer.train(data, { totalEpochs: 3, ...track({ log: (values, step) => wandb.log({ ...values, step }) }) })
 * await wandb.finish()
 */
export function track(...trackers: readonly Tracker[]): Required<Pick<FitOptions, 'onStep' | 'onEvaluate'>> {
  const send = async (values: TrackedValues, step: number) => {
    const finite = Object.fromEntries(Object.entries(values).filter(([, value]) => Number.isFinite(value)))
    for (const tracker of trackers) await tracker.log(finite, step)
  }
  return {
    onStep: (progress: StepProgress) => send(valuesOfStep(progress), progress.step + 1),
    onEvaluate: (metrics: IntervalMetrics) => send(valuesOfInterval(metrics), metrics.step),
  }
}

/** The numbers of a step. */
function valuesOfStep({ loss, lr, gradientNorm, kappa, seconds, tensors = {} }: StepProgress): TrackedValues {
  const ofTensors = Object.entries(tensors).flatMap(([tensor, measures]) =>
    Object.entries(measures).flatMap(([name, value]) =>
      typeof value === 'number' ? [[`${name}/${tensor}`, value]] : [],
    ),
  )
  const values = { loss, lr, gradientNorm, kappa, seconds }
  return { ...prefix('train', values), ...Object.fromEntries(ofTensors) }
}

/** The numbers of an evaluation. Metrics per class are left out. */
function valuesOfInterval({ validation, ...training }: IntervalMetrics): TrackedValues {
  const { step: _, count: __, ...others } = training
  const { count: ___, ...measured } = validation ?? { count: 0 }
  return { ...prefix('epoch', others), ...prefix('validation', measured) }
}

const prefix = (name: string, values: object): TrackedValues =>
  Object.fromEntries(
    Object.entries(values).flatMap(([key, value]) => (typeof value === 'number' ? [[`${name}/${key}`, value]] : [])),
  )
