import { OnnxIreError } from '../util/errors.js'
import { taskLosses } from './loss.js'
import { createRecipeMetric, type MetricRecipe } from './metric.js'
import type { EvaluationRecipe, Recipe } from './recipe.js'
import { sourceFaults } from './sources/source.js'

/** What is wrong with a recipe although each of its fields is right, one sentence each. */
export function recipeFaults(recipe: Recipe): string[] {
  const { data, schedule, best, earlyStopping, weights, ema } = recipe
  const judging = [
    ...(best ? ['best'] : []),
    ...(earlyStopping ? ['earlyStopping'] : []),
    ...(schedule?.kind === 'plateau' ? ['a plateau schedule'] : []),
  ]
  const unjudged = judging.length > 0 && data.validation === undefined && data.split === undefined
  return [
    ...lengthFaults(recipe),
    ...sourceFaults('data.train', data.train),
    ...(data.validation ? sourceFaults('data.validation', data.validation) : []),
    ...(data.validation && data.split
      ? [
          'data has both validation and split: a validation source of its own, or a share of the training data, not both',
        ]
      : []),
    ...(unjudged
      ? [
          `${judging.join(' and ')} ${judging.length > 1 ? 'go' : 'goes'} by validation data, and there are none: ` +
            'add data.validation, or hold some out: "split": { "validation": 0.1 }',
        ]
      : []),
    ...(weights === 'best' && !best ? ['weights is \'best\', and best does not say to keep them: "best": true'] : []),
    ...(weights === 'ema' && ema === undefined
      ? ['weights is \'ema\', and ema does not say to keep an average: "ema": 0.999']
      : []),
    ...lossFaults(recipe),
    ...metricFaults(recipe.metrics),
  ]
}

export const evaluationFaults = ({ data, metrics }: EvaluationRecipe): string[] => [
  ...sourceFaults('data', data),
  ...metricFaults(metrics),
]

function lengthFaults({ epochs, steps }: Recipe): string[] {
  if ((epochs === undefined) !== (steps === undefined)) return []
  const both = epochs !== undefined
  return [
    `it has ${both ? 'both epochs and steps' : 'neither epochs nor steps'}: give one of them, ` +
      `for instance ${both ? '--set steps=null to go by epochs' : '"epochs": 3'}`,
  ]
}

function lossFaults({ loss, mixup }: Recipe): string[] {
  const faults = taskLosses(loss).flatMap(([place, task]) =>
    task.kind === 'cross-entropy' && task.probabilities && task.classWeights === 'balanced'
      ? [`${place}.classWeights: 'balanced' counts class numbers, and with probabilities there are none; give numbers`]
      : [],
  )
  if (loss.kind === 'combine' && Object.keys(loss.tasks).length === 0) faults.push('loss.tasks has no task')
  if (!mixup) return faults
  if (loss.kind !== 'cross-entropy' && loss.kind !== 'kl')
    faults.push(`mixup mixes classes: it goes with the loss 'cross-entropy' or 'kl', not '${loss.kind}'`)
  else if (loss.kind === 'cross-entropy' && loss.ignoreIndex !== undefined)
    faults.push('mixup makes labels probabilities, of which ignoreIndex leaves none out; remove one of the two')
  return faults
}

function metricFaults(metrics: readonly MetricRecipe[] = []): string[] {
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
