import type { Tensors } from '../ir/tensor.js'
import type { Random } from '../util/random.js'
import type { BatchContext, Dataset } from './dataset.js'
import { collateExamples, type DatasetOrStream, type ExampleStream } from './stream.js'

/**
 * A data set whose batches pass through `f` when they are asked for: renaming, casting, normalising.
 * @param f is given the numbers of the examples too. What it draws at random is the matter of `augment`
 */
export function transform<D extends DatasetOrStream>(
  data: D,
  f: (batch: Tensors, indices: ArrayLike<number>) => Tensors | Promise<Tensors>,
): TransformedData<D> {
  return mapBatches(data, (batch, _, indices) => f(batch, indices))
}

/**
 * A data set whose batches pass through `f` in training, where what it draws from `random` is another in every epoch and
 * the same in every run with the same seed; in evaluation they stay as they are.
 */
export function augment<D extends DatasetOrStream>(
  data: D,
  f: (batch: Tensors, random: Random, indices: ArrayLike<number>) => Tensors | Promise<Tensors>,
): TransformedData<D> {
  return mapBatches(data, (batch, { random }, indices) => (random ? f(batch, random, indices) : batch))
}

/** A data set stays a data set, a stream a stream. */
export type TransformedData<D extends DatasetOrStream> = D extends Dataset ? Dataset : ExampleStream

/** Batches through `f` with their context. What lies below draws from a stream of its own, so neither shifts the other. */
export function mapBatches<D extends DatasetOrStream>(
  data: D,
  f: (batch: Tensors, context: BatchContext, indices: ArrayLike<number>) => Tensors | Promise<Tensors>,
): TransformedData<D>
export function mapBatches(
  data: DatasetOrStream,
  f: (batch: Tensors, context: BatchContext, indices: ArrayLike<number>) => Tensors | Promise<Tensors>,
): DatasetOrStream {
  const below = ({ random }: BatchContext): BatchContext => (random ? { random: random.stream('below') } : {})
  if ('batch' in data)
    return {
      length: data.length,
      batch: async (indices, context = {}) => f(await data.batch(indices, below(context)), context, indices),
    }
  return {
    length: data.length,
    shuffleBuffer: data.shuffleBuffer,
    examples: (epoch) => data.examples(epoch),
    collate: async (examples, indices, context = {}) =>
      f(await collateExamples(data, examples, indices, below(context)), context, indices),
  }
}
