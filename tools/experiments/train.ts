import { type Dataset, type Model, OnnxIreError, type StepProgress, Trainer, type TrainerOptions } from 'onnx-ire'

export interface Training extends Omit<TrainerOptions, 'runtime'> {
  readonly model: Model
  readonly train: Dataset
  /** Data for choosing settings. */
  readonly validation: Dataset
  /** Data for reported results: never used to choose settings, evaluated once at the end. */
  readonly test: Dataset
  readonly steps: number
  readonly evaluateEvery: number
}

/** Result of a training run, as plain numbers for JSON. */
export interface Outcome {
  /** Final validation loss; null if the run diverged. */
  readonly loss: number | null
  /** Final test metrics; null if the run diverged. */
  readonly test: { readonly loss: number; readonly accuracy: number } | null
  /** Mean over the last evaluation interval. */
  readonly trainingLoss: number | null
  /** Values after every evaluation interval. */
  readonly curve: readonly { readonly step: number; readonly loss: number; readonly trainingLoss: number }[]
  /** Fractions of coordinates that IRE treats as flat, and with curvature exactly 0, at the last refresh. */
  readonly flatShare: number | null
  readonly zeroShare: number | null
  /** Values of `measure`, with the step after which each was measured. */
  readonly measured: readonly { readonly step: number; readonly value: number }[]
}

/** IRE's curvature is that of the whole batch, as in the stored results. */
const wholeBatch = { curvatureShare: 1 } as const

/**
 * Trains one model with one optimizer.
 * @param done receives the completed fraction of the steps
 * @param measure additional measurement after each evaluation interval
 */
export async function trainModel(
  { model, train, validation, test, steps, evaluateEvery, ...options }: Training,
  runtime: TrainerOptions['runtime'],
  signal: { readonly aborted: boolean },
  done: (share: number) => void,
  measure?: (trainer: Trainer, step: number) => Promise<number | undefined>,
): Promise<Outcome> {
  const trainer = await Trainer.create(model, { ...wholeBatch, ...options, runtime })
  const curve: { step: number; loss: number; trainingLoss: number }[] = []
  const measured: { step: number; value: number }[] = []
  let last: StepProgress | undefined
  const onStep = (progress: StepProgress) => {
    last = progress
    done((progress.step + 1) / steps)
  }
  const outcome = (tested: Outcome['test']): Outcome => ({
    loss: tested && (curve.at(-1)?.loss ?? null),
    test: tested,
    trainingLoss: tested && (curve.at(-1)?.trainingLoss ?? null),
    curve,
    flatShare: last && last.kappa > 0 ? short(last.flatShare) : null,
    zeroShare: last?.zeroShare == null ? null : short(last.zeroShare),
    measured,
  })
  try {
    for await (const round of trainer.fit(train, { totalSteps: steps, evaluateEvery, validation, signal, onStep })) {
      if (!round.validation) continue
      curve.push({ step: round.step, loss: short(round.validation.loss), trainingLoss: short(round.loss) })
      const value = await measure?.(trainer, round.step)
      if (value !== undefined) measured.push({ step: round.step, value: short(value) })
    }
    if (!Number.isFinite(curve.at(-1)?.loss ?? Number.NaN)) return outcome(null)
    const { loss, accuracy } = await trainer.evaluate(test)
    return outcome({ loss: short(loss), accuracy: short(accuracy!) })
  } catch (error) {
    if (error instanceof OnnxIreError && error.code === 'not-finite') return outcome(null)
    throw error
  } finally {
    await trainer.dispose()
  }
}

/**
 * Measures the CPU time of a training step. Nothing else may run in the process.
 * @param steps number of steps before the measurement, and of those measured
 * @returns milliseconds per step
 */
export async function timeStep(
  { model, train, validation, test, ...options }: Omit<Training, 'steps' | 'evaluateEvery'>,
  runtime: TrainerOptions['runtime'],
  { skipped, counted }: { readonly skipped: number; readonly counted: number },
): Promise<number> {
  const trainer = await Trainer.create(model, { ...wholeBatch, ...options, runtime })
  let before = process.cpuUsage()
  const onStep = ({ step }: StepProgress) => {
    if (step + 1 === skipped) before = process.cpuUsage()
  }
  try {
    for await (const _ of trainer.fit(train, { totalSteps: skipped + counted, onStep }));
    const { user, system } = process.cpuUsage(before)
    return short((user + system) / 1000 / counted)
  } finally {
    await trainer.dispose()
  }
}

const short = (x: number): number => Number(x.toPrecision(6))
