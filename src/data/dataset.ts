import type { Tensors } from '../ir/tensor.js'
import { checkNumber } from '../util/check.js'
import { checksum } from '../util/checksum.js'
import { mapConcurrently } from '../util/concurrent.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'

/** Context of a batch, in addition to its examples. */
export interface BatchContext {
  /**
   * Random generator for augmentation, present in training and absent in evaluation. It depends only on the seed, the
   * epoch and the index of the batch, so that a resumed run samples the same numbers as an uninterrupted one.
   */
  readonly random?: Random | undefined
}

/** Data set of examples addressed by index. Any object with these two members can be trained on. */
export interface Dataset {
  /** Number of examples. */
  readonly length: number
  /**
   * Loads the examples of these indices, in this order: tensors by name, with one entry of the leading axis per index
   * (except for constants such as a sample rate). Called for one batch at a time, with the same indices in every epoch.
   * The tensors must depend only on the indices and on `context.random`.
   */
  batch(indices: ArrayLike<number>, context?: BatchContext): Tensors | Promise<Tensors>
  /**
   * Computes a checksum of the examples and their order: a text that differs for other data. Checkpoints contain it,
   * and a run continues only on data with the same one. Default: only the number of examples is compared.
   */
  readonly checksum?: DataChecksum | undefined
}

/** Computes a checksum of data, independent of the names of files. */
export type DataChecksum = () => string | Promise<string>

/** Largest number of files whose sizes a checksum covers. */
const sizeCount = 4096

/** Creates the checksum of examples that are files: their sizes in order, of at most 4,096 evenly spread files. */
export const checksumSizes =
  <F>(files: readonly F[], sizeOf: (file: F) => number | Promise<number>): DataChecksum =>
  async () => {
    const step = Math.max(1, files.length / sizeCount)
    const chosen = Uint32Array.from({ length: Math.min(files.length, sizeCount) }, (_, i) => Math.floor(i * step))
    return checksum([Float64Array.from(await mapConcurrently(chosen, 16, async (i) => sizeOf(files[i]!)))])
  }

/** Returns the function that computes the checksum of a selection of data, or of data with something added. */
export function deriveChecksum(
  data: { readonly checksum?: DataChecksum | undefined },
  ...parts: readonly (string | ArrayBufferView)[]
): DataChecksum | undefined {
  return data.checksum && (async () => checksum([await data.checksum!(), ...parts]))
}

/**
 * Subset of a data set: the examples of the given indices in the given order (repeated indices are allowed), or from
 * `start` up to, but excluding, `end`. Examples are not copied.
 * @throws 'invalid-data' with the first index that the data set does not have
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
    checksum: deriveChecksum(dataset, chosen),
  }
}

/** Parts of a data set, from `split`. */
export interface DatasetSplit {
  readonly train: Dataset
  readonly validation: Dataset
}

/**
 * Splits a data set at random into two disjoint parts. The same seed gives the same parts.
 * @param options `validation`: the share of examples to hold out, in (0, 1), rounded to a number of examples
 * @throws 'invalid-option' for an invalid share, or one that leaves a part empty
 * @example
 * ```ts
 * const { train, validation } = split(data, { validation: 0.1, seed: 0 })
 * ```
 */
export function split(dataset: Dataset, options: { readonly validation: number; readonly seed: number }): DatasetSplit {
  const share = checkNumber('split', 'validation', options.validation, { min: 0, max: 1 })
  const heldOut = Math.round(share * dataset.length)
  if (heldOut === 0 || heldOut === dataset.length)
    throw new OnnxIreError(
      'invalid-option',
      `split: option 'validation' is ${share}, which splits ${dataset.length} examples into ${dataset.length - heldOut} and ${heldOut}; both parts need at least one`,
    )
  const order = new Random(options.seed).stream('split').permutation(dataset.length)
  return {
    train: subset(dataset, order.slice(heldOut).sort()),
    validation: subset(dataset, order.slice(0, heldOut).sort()),
  }
}

/** Throws 'invalid-data' unless every index is an integer in [0, length). */
export function checkIndices(indices: ArrayLike<number>, length: number): void {
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i]!
    if (!(Number.isInteger(index) && index >= 0 && index < length))
      throw new OnnxIreError(
        'invalid-data',
        `there is no example ${index}: the data set has ${length} examples, numbered from 0`,
      )
  }
}

function range({ length }: Dataset, start: number, end = length): Uint32Array {
  checkNumber('subset', 'start', start, { min: 0, max: length, integer: true })
  checkNumber('subset', 'end', end, { min: start, max: length, integer: true })
  return Uint32Array.from({ length: end - start }, (_, i) => start + i)
}
