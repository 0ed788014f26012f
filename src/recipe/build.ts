import type { Metric } from '../metric/metric.js'
import type { WhichWeights } from '../train/checkpoint/model-from-checkpoint.js'
import type { FitOptions, TrainerOptions } from '../train/options.js'
import { createLoss } from './loss.js'
import { createRecipeMetric } from './metric.js'
import { optimizerOf } from './optimizer.js'
import type { Recipe } from './recipe.js'

/** A recipe's options for `Trainer.create`, but for where it runs. Throws `invalid-option`. */
export function trainerOptions(recipe: Recipe): Omit<TrainerOptions, 'runtime'> {
  const { head, trainable, batchNorm, dropout, groups, decayVectors, layerDecay, schedule, clipNorm, clipValue } =
    recipe
  const { batchSize, microBatch, curvatureBatch, ema, earlyStopping, seed } = recipe
  const best = recipe.best === true ? {} : recipe.best || undefined
  const metrics = metricsOf(recipe)
  return {
    loss: createLoss(recipe.loss),
    optimizer: optimizerOf(recipe.optimizer),
    ...present({ metrics, head, trainable, batchNorm, dropout, groups, decayVectors, layerDecay, schedule }),
    ...present({ clipNorm, clipValue, batchSize, microBatch, curvatureBatch, ema, best, earlyStopping, seed }),
  }
}

/** How long a recipe trains, and how often it measures. */
export const fitOptions = ({
  epochs,
  steps,
  evaluateEvery,
}: Recipe): Pick<FitOptions, 'totalEpochs' | 'totalSteps' | 'evaluateEvery'> =>
  present({ totalEpochs: epochs, totalSteps: steps, evaluateEvery })

/** Throws `invalid-option` for a name that no metric has. */
export const metricsOf = ({ metrics }: Pick<Recipe, 'metrics'>): readonly Metric[] | undefined =>
  metrics?.map(createRecipeMetric)

/** Which weights a run gives in the end. */
export const weightsOf = ({ weights, best, ema }: Pick<Recipe, 'weights' | 'best' | 'ema'>): WhichWeights =>
  weights ?? (best ? 'best' : ema === undefined ? 'last' : 'ema')

type Present<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> }

const present = <T extends object>(fields: T): Present<T> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>
