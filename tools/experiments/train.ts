import { type Dataset, type Model, OnnxIreError, type StepProgress, Trainer, type TrainerOptions } from 'onnx-ire'

export interface Training extends Omit<TrainerOptions, 'runtime'> {
  readonly model: Model
  readonly train: Dataset
  readonly validation: Dataset
  readonly steps: number
  readonly evaluateEvery: number
}

/** What one training run came to; numbers only, to be kept as JSON. */
export interface Outcome {
  /** Loss on the validation data at the end; null when the run diverged. */
  readonly loss: number | null
  readonly accuracy: number | null
  /** Mean over the last round. */
  readonly trainingLoss: number | null
  /** After every round. */
  readonly curve: readonly { readonly step: number; readonly loss: number; readonly trainingLoss: number }[]
  /** Shares of the coordinates that IRE treats as flat, and whose curvature is exactly 0, at the last refresh. */
  readonly flatShare: number | null
  readonly zeroShare: number | null
  /** Whatever `measure` gave after a round, by step. */
  readonly measured: readonly { readonly step: number; readonly value: number }[]
}

/**
 * Trains one model with one optimizer.
 * @param done told the share of the steps that is done
 * @param measure something more to be measured at the end of a round
 */
export async function trained(
  { model, train, validation, steps, evaluateEvery, ...options }: Training,
  runtime: TrainerOptions['runtime'],
  signal: { readonly aborted: boolean },
  done: (share: number) => void,
  measure?: (trainer: Trainer, step: number) => Promise<number | undefined>,
): Promise<Outcome> {
  const trainer = await Trainer.create(model, { ...options, runtime })
  const curve: { step: number; loss: number; trainingLoss: number }[] = []
  const measured: { step: number; value: number }[] = []
  let last: StepProgress | undefined
  let accuracy: number | null = null
  const onStep = (progress: StepProgress) => {
    last = progress
    done((progress.step + 1) / steps)
  }
  const ends = (diverged: boolean): Outcome => ({
    loss: diverged ? null : (curve.at(-1)?.loss ?? null),
    accuracy: diverged ? null : accuracy,
    trainingLoss: diverged ? null : (curve.at(-1)?.trainingLoss ?? null),
    curve,
    flatShare: last && last.kappa > 0 ? short(last.flatShare) : null,
    zeroShare: last?.zeroShare == null ? null : short(last.zeroShare),
    measured,
  })
  try {
    for await (const round of trainer.fit(train, { steps, evaluateEvery, validation, signal, onStep })) {
      if (!round.validation) continue
      curve.push({ step: round.step, loss: short(round.validation.loss), trainingLoss: short(round.loss) })
      accuracy = round.validation.accuracy === undefined ? null : short(round.validation.accuracy)
      const value = await measure?.(trainer, round.step)
      if (value !== undefined) measured.push({ step: round.step, value: short(value) })
    }
    return ends(!Number.isFinite(curve.at(-1)?.loss ?? Number.NaN))
  } catch (error) {
    if (error instanceof OnnxIreError && error.code === 'not-finite') return ends(true)
    throw error
  } finally {
    await trainer.dispose()
  }
}

const short = (x: number): number => Number(x.toPrecision(6))
