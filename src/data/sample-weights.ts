import { OnnxIreError } from '../util/errors.js'
import type { Dataset } from './dataset.js'

/**
 * A data set with a weight per example as one tensor more: float32 [n].
 * @param weights one per example, finite and not negative
 * @param name what a loss with sample weights reads. Default 'weight'
 * @throws 'invalid-data' for another number of weights, one that is no weight, or a name that is taken
 */
export function withSampleWeights(dataset: Dataset, weights: ArrayLike<number>, name = 'weight'): Dataset {
  if (weights.length !== dataset.length)
    throw new OnnxIreError(
      'invalid-data',
      `withWeights: there are ${weights.length} weights for ${dataset.length} examples; each needs one`,
    )
  const kept = Float32Array.from(weights)
  const odd = kept.findIndex((weight) => !(weight >= 0 && Number.isFinite(weight)))
  if (odd >= 0)
    throw new OnnxIreError(
      'invalid-data',
      `withWeights: weight ${odd} is ${weights[odd]}; weights are finite numbers, 0 or more`,
    )
  return {
    length: dataset.length,
    async batch(indices, context) {
      const batch = await dataset.batch(indices, context)
      if (Object.hasOwn(batch, name))
        throw new OnnxIreError('invalid-data', `withWeights: the data set has a '${name}' already; give another name`)
      const data = Float32Array.from(indices, (index) => kept[index]!)
      return { ...batch, [name]: { dtype: 'float32', dims: [data.length], data } }
    },
  }
}
