import type { Tensors } from '../ir/tensor.js'
import { checkNumber } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'

/** What a data set may want to know of the batch it is asked for, besides its examples. */
export interface BatchContext {
  /**
   * What to draw augmentation from: there in training and not in evaluation. It depends on the seed, the epoch and the
   * number of the batch alone, so that a resumed run draws what an uninterrupted one draws.
   */
  readonly random?: Random | undefined
}

/** Examples, by number. Anything with these two members can be trained on. */
export interface Dataset {
  /** Examples in the set. */
  readonly length: number
  /**
   * The examples of these numbers, in this order: one tensor per name, with one entry of the leading axis per number
   * (but for what is the same in every batch, such as a sample rate).
   * Called for one batch at a time and with the same numbers again in every epoch. It should give the same tensors for the
   * same numbers, but for what it draws from `context.random`.
   */
  batch(indices: ArrayLike<number>, context?: BatchContext): Tensors | Promise<Tensors>
}

/**
 * Part of a data set: the examples of the given numbers in the given order (twice if named twice), or those from
 * `start` up to but without `end`. Nothing is copied.
 * @throws 'invalid-data' naming the first number that the data set does not have
 */
export function subset(
  dataset: Dataset,
  which: ArrayLike<number> | { readonly start?: number; readonly end?: number },
): Dataset {
  const chosen = 'length' in which ? Uint32Array.from(which) : range(dataset, which.start ?? 0, which.end)
  checkIndices('length' in which ? which : chosen, dataset.length)
  return {
    length: chosen.length,
    batch(indices, context) {
      checkIndices(indices, chosen.length)
      return dataset.batch(
        Uint32Array.from(indices, (index) => chosen[index]!),
        context,
      )
    },
  }
}

/** What `split` gives. */
export interface DatasetSplit {
  readonly train: Dataset
  readonly validation: Dataset
}

/**
 * Divides a data set at random into two parts without common examples. The same seed gives the same parts.
 * @param options `validation`: the share of examples to hold out, in (0, 1), rounded to whole examples
 * @throws 'invalid-option' when the share is none, or leaves one of the parts empty
 */
export function split(dataset: Dataset, options: { readonly validation: number; readonly seed: number }): DatasetSplit {
  const share = checkNumber('split', 'validation', options.validation, { min: 0, max: 1 })
  const held = Math.round(share * dataset.length)
  if (held === 0 || held === dataset.length)
    throw new OnnxIreError(
      'invalid-option',
      `split: option 'validation' is ${share}, which divides ${dataset.length} examples into ${dataset.length - held} and ${held}; both parts need at least one`,
    )
  const order = new Random(options.seed).stream('split').permutation(dataset.length)
  return {
    train: subset(dataset, order.slice(held).sort()),
    validation: subset(dataset, order.slice(0, held).sort()),
  }
}

/** Throws 'invalid-data' unless every index is one of `length` examples. */
export function checkIndices(indices: ArrayLike<number>, length: number): void {
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i]!
    if (!(Number.isInteger(index) && index >= 0 && index < length))
      throw new OnnxIreError(
        'invalid-data',
        `there is no example ${index}: the data set has ${length}, numbered from 0`,
      )
  }
}

function range({ length }: Dataset, start: number, end = length): Uint32Array {
  checkNumber('subset', 'start', start, { min: 0, max: length, integer: true })
  checkNumber('subset', 'end', end, { min: start, max: length, integer: true })
  return Uint32Array.from({ length: end - start }, (_, i) => start + i)
}
