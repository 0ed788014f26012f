import { distillation } from '../loss/distillation.js'
import type { Loss } from '../loss/loss.js'
import type { Metric } from '../metric/metric.js'
import type { Model } from '../onnx/model.js'
import type { WeightSelection } from '../train/checkpoint/model-from-checkpoint.js'
import type { PassOptions } from '../train/model/repeat-model.js'
import type { HeadOptions } from '../train/model/replace-head.js'
import type { FitOptions, TrainerOptions } from '../train/options.js'
import { OnnxIreError } from '../util/errors.js'
import { dropUndefined } from '../util/record.js'
import { createLoss } from './loss.js'
import { createRecipeMetric } from './metric.js'
import { optimizerOf } from './optimizer.js'
import type { Recipe } from './recipe.js'

/**
 * Creates the options of `Trainer.create` from a recipe, except the runtime.
 * @param models `teacher`: the model of `recipe.teacher`, if the recipe has one
 * @throws OnnxIreError `invalid-option`, also if the recipe has a teacher and its model is not given
 * @example
 * ```ts
 * const trainer = await Trainer.create(model, { runtime, ...trainerOptions(recipe) })
 * ```
 */
export function trainerOptions(
  recipe: Recipe,
  models: { readonly teacher?: Model | undefined } = {},
): Omit<TrainerOptions, 'runtime'> {
  const best = recipe.best === true ? {} : recipe.best || undefined
  const same = Object.fromEntries(Object.keys(sameFields).map((name) => [name, recipe[name as SameField]]))
  return {
    loss: createTrainingLoss(recipe, models.teacher),
    optimizer: optimizerOf(recipe.optimizer),
    ...dropUndefined({
      ...(same as Pick<Recipe, SameField>),
      head: resolvedHead(recipe),
      metrics: createMetrics(recipe),
      best,
    }),
  }
}

/** The head of a recipe whose number of classes is known. Throws `invalid-option` for classes 'data'. */
function resolvedHead({ head }: Pick<Recipe, 'head'>): HeadOptions | undefined {
  if (head?.classes === 'data')
    throw new OnnxIreError(
      'invalid-option',
      "head.classes is 'data', which needs the training data: give the number of classes",
    )
  return head && { ...head, classes: head.classes }
}

/** The loss of a recipe, with its teacher. */
function createTrainingLoss({ loss, teacher: options }: Recipe, teacher: Model | undefined): Loss {
  if (!options || loss.kind !== 'cross-entropy') return createLoss(loss)
  if (!teacher)
    throw new OnnxIreError(
      'invalid-option',
      `the recipe has a teacher: read ${options.model} and give it as trainerOptions(recipe, { teacher })`,
    )
  const { logits: teacherLogits, temperature, weight } = options
  // parseRecipe refuses the options of a cross-entropy that a distillation does not have.
  const { logits, labels, axis, ignoreIndex, chunk, sampleWeights, mask } = loss
  const shared = dropUndefined({ logits, labels, axis, ignoreIndex, chunk, sampleWeights, mask })
  return distillation({ teacher, teacherLogits, temperature, weight, ...shared })
}

/** Fields that a recipe and the options of a trainer share, with the same meaning. */
type SameField = Exclude<keyof Recipe & keyof TrainerOptions, 'loss' | 'optimizer' | 'metrics' | 'best' | 'head'>

const sameFields: Readonly<Record<SameField, true>> = {
  ...{ adapter: true, trainable: true, batchNorm: true, dropout: true, groups: true },
  ...{ freeBatch: true, untie: true, tie: true, freeze: true, decayVectors: true, features: true },
  ...{ layerDecay: true, schedule: true, clipNorm: true, clipValue: true, batchSize: true, microBatch: true },
  ...{ recompute: true, curvatureBatch: true, curvatureShare: true, ema: true, earlyStopping: true, seed: true },
  ...{ passes: true, pooling: true, localSteps: true, gradientCompression: true },
}

/** The fields of a recipe that repeat passes of a model or pool its outputs. */
export const passOptions = ({ passes, pooling }: PassOptions): PassOptions => dropUndefined({ passes, pooling })

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
export const finalWeights = ({ weights, best, ema }: Pick<Recipe, 'weights' | 'best' | 'ema'>): WeightSelection =>
  weights ?? (best ? 'best' : ema === undefined ? 'last' : 'ema')
