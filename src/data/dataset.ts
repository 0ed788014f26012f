import type { Tensors } from '../ir/tensor.js'
import { append } from '../util/append.js'
import { checkNames, checkNumber, invalidOption } from '../util/check.js'
import { checksum } from '../util/checksum.js'
import { mapConcurrently } from '../util/concurrent.js'
import { OnnxIreError } from '../util/errors.js'
import { Random } from '../util/random.js'
import { sum } from '../util/statistics.js'
import type { TableStatistics } from './table-statistics.js'

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
  /** Returns what identifies the examples for `split`. Default: their positions, and no classes. */
  readonly identify?: (() => ExampleIdentity) | undefined
  /** Statistics of the columns of a table that its features are computed with. */
  readonly statistics?: TableStatistics | undefined
  /**
   * Returns the data set with statistics of these examples only. `split` calls it, so that the examples that are held
   * out do not take part in means and categories. Absent if the statistics were given, or if there are none.
   */
  readonly fitTo?: ((indices: ArrayLike<number>) => Dataset) | undefined
}

/** Keys and classes of the examples of a data set, in their order. */
export interface ExampleIdentity {
  /** A text for each example that does not change if others are added or removed, such as the path of its file. */
  readonly keys?: readonly string[] | undefined
  /** The class of each example. */
  readonly classes?: ArrayLike<number | bigint | string> | undefined
}

/** Computes a checksum of data, independent of the names of files. */
export type DataChecksum = () => string | Promise<string>

/** Largest number of files whose sizes a checksum covers. */
const maxSizes = 4096

/** Creates the checksum of examples that are files: their sizes in order, of at most 4,096 evenly spread files. */
export const checksumSizes =
  <F>(files: readonly F[], sizeOf: (file: F) => number | Promise<number>): DataChecksum =>
  async () => {
    const step = Math.max(1, files.length / maxSizes)
    const chosen = Uint32Array.from({ length: Math.min(files.length, maxSizes) }, (_, i) => Math.floor(i * step))
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
 * @throws OnnxIreError `invalid-data` with the first index that the data set does not have
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
    identify: deriveIdentity(dataset, chosen),
    ...fittingOf(
      dataset,
      (fitted) => subset(fitted, chosen),
      (index) => chosen[index]!,
    ),
  }
}

/**
 * The statistics of a data set that is derived from another, and the function that fits both to some examples.
 * @param derive derives the data set from the fitted one
 * @param indexOf index in the other data set of an example of the derived one
 */
export const fittingOf = (
  data: Dataset,
  derive: (fitted: Dataset) => Dataset,
  indexOf: (index: number) => number = (index) => index,
): Pick<Dataset, 'statistics' | 'fitTo'> => ({
  ...(data.statistics ? { statistics: data.statistics } : {}),
  ...(data.fitTo ? { fitTo: (indices) => derive(data.fitTo!(Uint32Array.from(indices, indexOf))) } : {}),
})

/** Returns the function that identifies the examples of a data set that has those of another. */
export const identityOf = (data: Dataset): Dataset['identify'] => data.identify && (() => data.identify!())

/** Returns the function that identifies a selection of the examples of a data set. */
function deriveIdentity(data: Dataset, chosen: Uint32Array): Dataset['identify'] {
  if (!data.identify) return undefined
  return () => {
    const { keys, classes } = data.identify!()
    return {
      keys: keys && Array.from(chosen, (i) => keys[i]!),
      classes: classes && Array.from(chosen, (i) => classes[i]!),
    }
  }
}

/** Parts of a data set, from `split`. */
export interface DatasetSplit {
  readonly train: Dataset
  readonly validation: Dataset
}

/** Options of `split`. */
export interface SplitOptions {
  /**
   * The share of examples to hold out, in (0, 1), rounded to a number of examples. Either this, or `folds` and `fold`.
   */
  readonly validation?: number | undefined
  /** Number of parts for cross-validation, of which one is held out. */
  readonly folds?: number | undefined
  /** The part to hold out, from 0. */
  readonly fold?: number | undefined
  /** Seed of the choice. Default 0. */
  readonly seed?: number | undefined
  /** Whether to hold out the same share of every class, if the data set has classes. Default true. */
  readonly stratify?: boolean | undefined
}

/**
 * Splits a data set at random into two disjoint parts. An example is chosen by a hash of its key (the path of an image
 * within its folder; without keys its position) and the seed, so that the parts hold when files are added or removed:
 * at most one other example of each class then changes its part. No class is held out as a whole. Statistics of table
 * columns are then those of the training part.
 * @throws OnnxIreError `invalid-option` for an invalid share, or one that leaves a part empty
 * @example
 * ```ts
 * const { train, validation } = split(data, { validation: 0.1, seed: 0 })
 * const second = split(data, { folds: 5, fold: 1 }) // cross-validation: run it for every fold
 * ```
 */
export function split(dataset: Dataset, options: SplitOptions): DatasetSplit {
  const { train, validation } = splitIndices(dataset, options)
  const fitted = dataset.fitTo?.(train) ?? dataset
  return { train: subset(fitted, train), validation: subset(fitted, validation) }
}

/** Indices of the examples of the parts that `split` returns, in ascending order. */
export function splitIndices(
  dataset: Dataset,
  options: SplitOptions,
): { readonly train: Uint32Array; readonly validation: Uint32Array } {
  checkSplit(options)
  const { seed = 0, stratify = true } = options
  const { length } = dataset
  const { keys, classes } = dataset.identify?.() ?? {}
  const members = new Map<unknown, number[]>()
  for (let i = 0; i < length; i++) append(members, stratify ? classes?.[i] : undefined, i)
  const groups = [...members.values()]
  const random = new Random(seed).stream('split')
  const ranks = Float64Array.from({ length }, (_, i) => (keys ? random.stream(keys[i]!) : random).uniform())
  const isHeldOut = new Uint8Array(length)
  for (const group of groups) group.sort((a, b) => ranks[a]! - ranks[b]!)
  for (const i of options.folds === undefined
    ? takeShare(groups, options.validation!)
    : takeFold(members, random, options))
    isHeldOut[i] = 1
  const heldOut = isHeldOut.reduce((sum, is) => sum + is, 0)
  if (heldOut === 0 || heldOut === length)
    throw new OnnxIreError(
      'invalid-option',
      `split: ${options.folds === undefined ? `option 'validation' is ${options.validation}` : `there are ${options.folds} folds`}, which splits ${length} examples into ${length - heldOut} and ${heldOut}; both parts need at least one${groups.length > 1 ? `, and no class is held out as a whole: with stratify: false the ${groups.length} classes do not count` : ''}`,
    )
  const all = Uint32Array.from({ length }, (_, i) => i)
  return { train: all.filter((i) => !isHeldOut[i]), validation: all.filter((i) => isHeldOut[i]) }
}

function checkSplit(options: SplitOptions): void {
  checkNames('split', options, ['validation', 'folds', 'fold', 'seed', 'stratify'])
  const { validation, folds, fold } = options
  if (folds === undefined) {
    if (fold !== undefined) throw invalidOption('split', 'fold', fold, 'omitted, because folds is not given')
    checkNumber('split', 'validation', validation as number, { min: 0, max: 1 })
    return
  }
  if (validation !== undefined)
    throw invalidOption('split', 'validation', validation, 'omitted, because folds is given')
  checkNumber('split', 'folds', folds, { min: 2, max: 2 ** 20, integer: true })
  checkNumber('split', 'fold', fold as number, { min: 0, max: folds - 1, integer: true })
}

/** The first examples of each group, as many as their share. */
function takeShare(groups: readonly (readonly number[])[], share: number): number[] {
  const counts = allocate(
    share,
    groups.map((group) => group.length),
  )
  return groups.flatMap((group, g) => group.slice(0, counts[g]!))
}

/**
 * One of several parts of each class, which are consecutive and of equal size. The first part of a class is a random
 * one, so that the remainders are not all in the same part. Classes with fewer examples than parts come last, each
 * where the fewest examples are, so that no part stays empty.
 */
function takeFold(
  classes: ReadonlyMap<unknown, readonly number[]>,
  random: Random,
  { folds = 2, fold = 0 }: SplitOptions,
): number[] {
  const isSmall = (group: readonly number[]) => group.length < folds
  const sizes = new Uint32Array(folds)
  const taken: number[] = []
  for (const [label, group] of [...classes].sort(([, a], [, b]) => Number(isSmall(a)) - Number(isSmall(b)))) {
    const parts = group.map((_, place) => Math.floor((place * folds) / group.length))
    let first = random.stream(`class ${label}`).integer(folds)
    if (isSmall(group)) {
      const crowd = (from: number) => parts.reduce((sum, part) => sum + sizes[(part + from) % folds]!, 0)
      const starts = Array.from({ length: folds }, (_, shift) => (first + shift) % folds)
      first = starts.reduce((best, from) => (crowd(from) < crowd(best) ? from : best))
    }
    for (const [place, part] of parts.entries()) {
      const own = (part + first) % folds
      sizes[own]!++
      if (own === fold) taken.push(group[place]!)
    }
  }
  const empty = sizes.indexOf(0)
  if (empty >= 0)
    throw new OnnxIreError(
      'invalid-option',
      `split: there are ${folds} folds, and fold ${empty} has none of the ${sum(sizes)} examples; take fewer folds`,
    )
  return taken
}

/**
 * Numbers of examples to hold out of groups: their shares rounded so that the sum is the share of all (largest
 * remainder), and never all examples of one of several groups.
 */
function allocate(share: number, sizes: readonly number[]): number[] {
  const total = Math.round(share * sizes.reduce((sum, size) => sum + size, 0))
  const most = (size: number) => (sizes.length > 1 ? size - 1 : size)
  const counts = sizes.map((size) => Math.min(most(size), Math.floor(share * size)))
  const byRemainder = sizes
    .map((size, g) => ({ g, size, remainder: share * size - Math.floor(share * size) }))
    .sort((a, b) => b.remainder - a.remainder)
  let left = total - counts.reduce((sum, count) => sum + count, 0)
  for (const { g, size } of byRemainder) {
    if (left <= 0) break
    if (counts[g]! >= most(size)) continue
    counts[g]!++
    left--
  }
  return counts
}

/** Throws `invalid-data` unless every index is an integer in [0, length). */
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
