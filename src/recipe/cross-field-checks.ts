import { OnnxIreError } from '../util/errors.js'
import { taskLosses } from './loss.js'
import { createRecipeMetric, type MetricRecipe } from './metric.js'
import type { EvaluationRecipe, Recipe } from './recipe.js'
import { findSourceProblems } from './sources/source.js'

/** Finds problems across the fields of a recipe whose single fields are valid, one sentence each. */
export function findRecipeProblems(recipe: Recipe): string[] {
  const { data, schedule, best, earlyStopping, weights, ema } = recipe
  const dependents = [
    ...(best ? ['best'] : []),
    ...(earlyStopping ? ['earlyStopping'] : []),
    ...(schedule?.kind === 'plateau' ? ['a plateau schedule'] : []),
  ]
  const withoutValidation = dependents.length > 0 && data.validation === undefined && data.split === undefined
  return [
    ...findLengthProblems(recipe),
    ...findSourceProblems('data.train', data.train),
    ...(data.validation ? findSourceProblems('data.validation', data.validation) : []),
    ...(data.validation && data.split
      ? ['data has both validation and split: give either a validation source, or a share of the training data']
      : []),
    ...(withoutValidation
      ? [
          `${dependents.join(' and ')} ${dependents.length > 1 ? 'need' : 'needs'} validation data: ` +
            'add data.validation, or hold out a share: "split": { "validation": 0.1 }',
        ]
      : []),
    ...(weights === 'best' && !best
      ? ['weights is \'best\', but the best weights are not stored: add "best": true']
      : []),
    ...(weights === 'ema' && ema === undefined
      ? ['weights is \'ema\', but no average is computed: add "ema": 0.999']
      : []),
    ...findLossProblems(recipe),
    ...findMetricProblems(recipe.metrics),
  ]
}

export const findEvaluationProblems = ({ data, metrics }: EvaluationRecipe): string[] => [
  ...findSourceProblems('data', data),
  ...findMetricProblems(metrics),
]

function findLengthProblems({ epochs, steps }: Recipe): string[] {
  if ((epochs === undefined) !== (steps === undefined)) return []
  const both = epochs !== undefined
  return [
    `the recipe has ${both ? 'both epochs and steps' : 'neither epochs nor steps'}: give one of them, ` +
      `for instance ${both ? '--set steps=null to use epochs' : '"epochs": 3'}`,
  ]
}

function findLossProblems({ loss, mixup }: Recipe): string[] {
  const problems = taskLosses(loss).flatMap(([place, task]) =>
    task.kind === 'cross-entropy' && task.probabilities && task.classWeights === 'balanced'
      ? [`${place}.classWeights: 'balanced' needs class numbers, but labels are probabilities; give numbers`]
      : [],
  )
  if (loss.kind === 'combine' && Object.keys(loss.tasks).length === 0) problems.push('loss.tasks has no task')
  if (!mixup) return problems
  if (loss.kind !== 'cross-entropy' && loss.kind !== 'kl')
    problems.push(`mixup requires the loss 'cross-entropy' or 'kl', not '${loss.kind}'`)
  else if (loss.kind === 'cross-entropy' && loss.ignoreIndex !== undefined)
    problems.push(
      'mixup converts labels to probabilities, to which loss.ignoreIndex does not apply; remove one of them',
    )
  return problems
}

function findMetricProblems(metrics: readonly MetricRecipe[] = []): string[] {
  return metrics.flatMap((metric, i) => {
    try {
      createRecipeMetric(metric)
      return []
    } catch (error) {
      if (!(error instanceof OnnxIreError)) throw error
      return [`metrics[${i}]: ${error.message}`]
    }
  })
}
