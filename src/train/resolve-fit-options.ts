import type { TensorMap } from '../backend/backend.js'
import { type Batch, batchCount, batches } from '../data/batches.js'
import type { DatasetOrStream } from '../data/stream.js'
import { checkData } from '../data/stream.js'
import { unwrap } from '../optim/optimizer.js'
import type { ParameterSettings } from '../optim/parameter-settings.js'
import { learningRateFactor } from '../optim/schedule.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import { type FitOptions, resolveTotalSteps, type TrainerOptions } from './options.js'
import type { Programs } from './programs.js'

/** What one `fit` goes by. */
export interface ResolvedFitOptions {
  readonly steps: number | undefined
  readonly epochs: number | undefined
  readonly perEpoch: number | undefined
  readonly settings: Readonly<Record<string, ParameterSettings>>
  /** The batch that the curvature is always estimated on; undefined for that of the step. */
  readonly curvatureBatch: Batch | undefined
}

/** What `fit` does with these data. Throws now what would be thrown at some step: `invalid-option`, `invalid-data`. */
export async function resolveFitOptions(
  data: DatasetOrStream,
  options: FitOptions,
  trainer: TrainerOptions,
  programs: Pick<Programs<TensorMap>, 'checkSizes'>,
  settings: (perEpoch: number | undefined) => Readonly<Record<string, ParameterSettings>>,
): Promise<ResolvedFitOptions> {
  const { batchSize = 32, schedule = { kind: 'constant' } } = trainer
  checkData('fit: the data', data)
  if (options.validation !== undefined) checkData('fit: validation', options.validation)
  const perEpoch = batchCount(data, { batchSize })
  const steps = resolveTotalSteps(options, perEpoch)
  const judged = trainer.best !== undefined || trainer.earlyStopping !== undefined
  if ((judged || schedule.kind === 'plateau') && !options.validation)
    throw new OnnxIreError(
      'invalid-option',
      'fit: best, earlyStopping and a plateau schedule go by validation data; give validation',
    )
  for (const set of options.validation ? [data, options.validation] : [data])
    if (set.length !== undefined) programs.checkSizes(set.length, batchSize)
  learningRateFactor(schedule, 2 ** 40, steps ?? Infinity, perEpoch)
  const curvatureBatch = await fixedCurvatureBatch(data, trainer)
  return { steps, epochs: options.totalEpochs, perEpoch, settings: settings(perEpoch), curvatureBatch }
}

/** The same in every run with the same data, seed and batch size. */
async function fixedCurvatureBatch(
  data: DatasetOrStream,
  { optimizer, batchSize = 32, curvatureBatch, seed = 0 }: TrainerOptions,
): Promise<Batch | undefined> {
  const { ire } = unwrap(optimizer)
  if (curvatureBatch !== 'fixed' || !ire || ire.curvature === 'empirical') return undefined
  const shuffle = new Random(seed).stream('curvature batch')
  for await (const batch of batches(data, { batchSize, shuffle })) return batch
  return undefined
}
