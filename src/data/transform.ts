import { sizeOf, type Tensors } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'
import type { Random } from '../util/random.js'
import { type BatchContext, type Dataset, deriveChecksum, fittingOf, identityOf } from './dataset.js'
import { collateExamples, type DatasetOrStream, type ExampleStream } from './stream.js'

/**
 * Transforms every batch of a data set on demand: renaming, casting, normalizing. For random changes use `augment`.
 * @param f receives the batch and the indices of its examples
 * @example
 * ```ts
 * transform(data, ({ pixels, ...rest }) => ({ ...rest, image: toFloat(pixels) }))
 * ```
 */
export function transform<D extends DatasetOrStream>(
  data: D,
  f: (batch: Tensors, indices: ArrayLike<number>) => Tensors | Promise<Tensors>,
): TransformedData<D> {
  return mapBatches(data, (batch, _, indices) => f(batch, indices))
}

/**
 * Transforms every batch of a data set in training, with random numbers; in evaluation batches are unchanged. The
 * random numbers differ between epochs, and are the same in every run with the same seed.
 * @example
 * ```ts
 * augment(data, (batch, random) => ({ ...batch, x: addNoise(batch.x, random) }))
 * ```
 */
export function augment<D extends DatasetOrStream>(
  data: D,
  f: (batch: Tensors, random: Random, indices: ArrayLike<number>) => Tensors | Promise<Tensors>,
): TransformedData<D> {
  return mapBatches(data, (batch, { random }, indices) => (random ? f(batch, random, indices) : batch))
}

/** Type of transformed data: a data set for a data set, a stream for a stream. */
export type TransformedData<D extends DatasetOrStream> = D extends Dataset ? Dataset : ExampleStream

/**
 * Maps batches by `f` with their context. `data` itself uses a separate random stream, independent of the numbers that
 * `f` samples.
 */
export function mapBatches<D extends DatasetOrStream>(
  data: D,
  f: (batch: Tensors, context: BatchContext, indices: ArrayLike<number>) => Tensors | Promise<Tensors>,
): TransformedData<D>
export function mapBatches(
  data: DatasetOrStream,
  f: (batch: Tensors, context: BatchContext, indices: ArrayLike<number>) => Tensors | Promise<Tensors>,
): DatasetOrStream {
  const contextOfSource = ({ random }: BatchContext): BatchContext => (random ? { random: random.stream('below') } : {})
  if ('batch' in data)
    return {
      length: data.length,
      batch: async (indices, context = {}) => f(await data.batch(indices, contextOfSource(context)), context, indices),
      checksum: deriveChecksum(data),
      identify: identityOf(data),
      ...fittingOf(data, (fitted) => mapBatches(fitted, f)),
    }
  return {
    length: data.length,
    shuffleBuffer: data.shuffleBuffer,
    examples: (epoch) => data.examples(epoch),
    collate: async (examples, indices, context = {}) =>
      f(await collateExamples(data, examples, indices, contextOfSource(context)), context, indices),
    checksum: deriveChecksum(data),
    statistics: data.statistics,
  }
}

/**
 * Changes the dims of each example of the tensor `name`; the elements keep their order. Throws `invalid-data` when a
 * batch is read whose examples have another number of elements.
 */
export function reshapeExamples(data: Dataset, name: string, dims: readonly number[]): Dataset {
  return transform(data, (batch) => {
    const tensor = batch[name]!
    const [examples = 0, ...current] = tensor.dims
    if (sizeOf(current) === sizeOf(dims)) return { ...batch, [name]: { ...tensor, dims: [examples, ...dims] } }
    throw new OnnxIreError(
      'invalid-data',
      `'${name}' cannot have the dims [${dims.join(', ')}]: an example is [${current.join(', ')}], which is ${sizeOf(current)} elements`,
    )
  })
}
