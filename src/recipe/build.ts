import type { Metric } from '../metric/metric.js'
import type { WhichWeights } from '../train/checkpoint/model-from-checkpoint.js'
import type { FitOptions, TrainerOptions } from '../train/options.js'
import { createLoss } from './loss.js'
import { createRecipeMetric } from './metric.js'
import { optimizerOf } from './optimizer.js'
import type { Recipe } from './recipe.js'

/**
 * Creates the options of `Trainer.create` from a recipe, except the runtime.
 * @throws 'invalid-option'
 * @example
 * ```ts
 * const trainer = await Trainer.create(model, { runtime, ...trainerOptions(recipe) })
 * ```
 */
export function trainerOptions(recipe: Recipe): Omit<TrainerOptions, 'runtime'> {
  const {
    head,
    adapter,
    trainable,
    batchNorm,
    dropout,
    groups,
    decayVectors,
    layerDecay,
    schedule,
    clipNorm,
    clipValue,
  } = recipe
  const { batchSize, microBatch, recompute, curvatureBatch, curvatureShare, ema, earlyStopping, seed } = recipe
  const best = recipe.best === true ? {} : recipe.best || undefined
  const metrics = createMetrics(recipe)
  return {
    loss: createLoss(recipe.loss),
    optimizer: optimizerOf(recipe.optimizer),
    ...dropUndefined({
      metrics,
      head,
      adapter,
      trainable,
      batchNorm,
      dropout,
      groups,
      decayVectors,
      layerDecay,
      schedule,
    }),
    ...dropUndefined({ clipNorm, clipValue, batchSize, microBatch, recompute, curvatureBatch, curvatureShare }),
    ...dropUndefined({ ema, best, earlyStopping, seed }),
  }
}

/** Creates the options of `trainer.fit` from a recipe: its length and its evaluation interval. */
export const fitOptions = ({
  epochs,
  steps,
  evaluateEvery,
}: Recipe): Pick<FitOptions, 'totalEpochs' | 'totalSteps' | 'evaluateEvery'> =>
  dropUndefined({ totalEpochs: epochs, totalSteps: steps, evaluateEvery })

/** Creates the metrics of a recipe. Throws `invalid-option` for an unknown name. */
export const createMetrics = ({ metrics }: Pick<Recipe, 'metrics'>): readonly Metric[] | undefined =>
  metrics?.map(createRecipeMetric)

/** Weights that a run exports at its end. */
export const finalWeights = ({ weights, best, ema }: Pick<Recipe, 'weights' | 'best' | 'ema'>): WhichWeights =>
  weights ?? (best ? 'best' : ema === undefined ? 'last' : 'ema')

type Present<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> }

const dropUndefined = <T extends object>(fields: T): Present<T> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>
