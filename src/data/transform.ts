import type { Tensors } from '../ir/tensor.js'
import type { Random } from '../util/random.js'
import type { BatchContext, Dataset } from './dataset.js'
import { collated, type Data, type Stream } from './stream.js'

/**
 * A data set whose batches pass through `f` when they are asked for: renaming, casting, normalising.
 * @param f is given the numbers of the examples too. What it draws at random is the matter of `augment`
 */
export function transform<D extends Data>(
  data: D,
  f: (batch: Tensors, indices: ArrayLike<number>) => Tensors | Promise<Tensors>,
): DataLike<D> {
  return mapped(data, (batch, _, indices) => f(batch, indices))
}

/**
 * A data set whose batches pass through `f` in training, where what it draws from `random` is another in every epoch and
 * the same in every run with the same seed; in evaluation they stay as they are.
 */
export function augment<D extends Data>(
  data: D,
  f: (batch: Tensors, random: Random, indices: ArrayLike<number>) => Tensors | Promise<Tensors>,
): DataLike<D> {
  return mapped(data, (batch, { random }, indices) => (random ? f(batch, random, indices) : batch))
}

/** A data set stays a data set, a stream a stream. */
export type DataLike<D extends Data> = D extends Dataset ? Dataset : Stream

/** Batches through `f` with their context. What lies below draws from a stream of its own, so neither shifts the other. */
export function mapped<D extends Data>(
  data: D,
  f: (batch: Tensors, context: BatchContext, indices: ArrayLike<number>) => Tensors | Promise<Tensors>,
): DataLike<D>
export function mapped(
  data: Data,
  f: (batch: Tensors, context: BatchContext, indices: ArrayLike<number>) => Tensors | Promise<Tensors>,
): Data {
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
      f(await collated(data, examples, indices, below(context)), context, indices),
  }
}
