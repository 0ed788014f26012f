import { OnnxIreError } from '../util/errors.js'
import { type Dataset, deriveChecksum } from './dataset.js'

/**
 * Adds a weight per example to a data set, as a float32 tensor [n].
 * @param weights one per example, finite and >= 0
 * @param name name of the tensor, for the option `sampleWeights` of a loss. Default 'weight'
 * @throws 'invalid-data' for a wrong number of weights, an invalid weight, or a name that the data set already has
 * @example
 * ```ts
 * const weighted = withSampleWeights(data, weights)
 * const loss = crossEntropy({ sampleWeights: 'weight' })
 * ```
 */
export function withSampleWeights(dataset: Dataset, weights: ArrayLike<number>, name = 'weight'): Dataset {
  if (weights.length !== dataset.length)
    throw new OnnxIreError(
      'invalid-data',
      `withSampleWeights: there are ${weights.length} weights for ${dataset.length} examples; each example needs one`,
    )
  const values = Float32Array.from(weights)
  const invalid = values.findIndex((weight) => !(weight >= 0 && Number.isFinite(weight)))
  if (invalid >= 0)
    throw new OnnxIreError(
      'invalid-data',
      `withSampleWeights: weight ${invalid} is ${weights[invalid]}; weights must be finite numbers >= 0`,
    )
  return {
    length: dataset.length,
    async batch(indices, context) {
      const batch = await dataset.batch(indices, context)
      if (Object.hasOwn(batch, name))
        throw new OnnxIreError(
          'invalid-data',
          `withSampleWeights: the data set already has a tensor '${name}'; choose another name`,
        )
      const data = Float32Array.from(indices, (index) => values[index]!)
      return { ...batch, [name]: { dtype: 'float32', dims: [data.length], data } }
    },
    checksum: deriveChecksum(dataset, name, values),
  }
}
