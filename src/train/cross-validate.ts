import { type Dataset, type DatasetSplit, type SplitOptions, split } from '../data/dataset.js'
import type { Measures } from '../metric/accumulator.js'
import { checkArguments, checkNames } from '../util/check.js'
import { getOwn } from '../util/record.js'
import { deviation, mean } from '../util/statistics.js'

/** Options of `crossValidate`. */
export interface CrossValidateOptions {
  /** Number of parts, each of which is held out once. */
  readonly folds: number
  /** Seed of the choice of the parts. Default 0. */
  readonly seed?: SplitOptions['seed']
  /** Whether all parts have the same share of every class, if the data set has classes. Default true. */
  readonly stratify?: SplitOptions['stratify']
  /**
   * Trains on a part of the data, and returns the measures of the held-out part: `validation` of the metrics that
   * `Trainer.train` returns, or those of `evaluateModel`.
   */
  readonly train: (parts: DatasetSplit & { readonly fold: number }) => Promise<Measures>
}

/** A metric in all folds. */
export interface FoldMetric {
  readonly mean: number
  /**
   * Standard deviation of the folds, with n - 1 degrees of freedom. The folds share training data: it is their spread,
   * not the uncertainty of the mean.
   */
  readonly deviation: number
  /** The value of every fold in which the metric is a number. */
  readonly values: readonly number[]
}

/** Result of `crossValidate`. */
export interface CrossValidation {
  /** Measures of the held-out part of every fold. */
  readonly folds: readonly Measures[]
  /** Loss and metrics that are one number, by name. */
  readonly metrics: Readonly<Record<string, FoldMetric>>
}

/**
 * Trains once per part of a data set, each time with another part held out, and returns mean and spread of the metrics.
 *
 * @example
 * const { metrics } = await crossValidate(data, {
 *   folds: 5,
 *   async train({ train, validation }) {
 *     const trainer = await Trainer.create(model, { loss: crossEntropy(), optimizer: adamw({ lr: 1e-3 }), runtime })
 *     const last = await trainer.train(train, { totalEpochs: 3, validation })
 *     await trainer.dispose()
 *     return last!.validation!
 *   },
 * })
 * const { mean, deviation } = metrics['accuracy']!
 *
 * @throws OnnxIreError `invalid-option`; the first error of `train`
 */
export async function crossValidate(data: Dataset, options: CrossValidateOptions): Promise<CrossValidation> {
  checkArguments('crossValidate(data, { folds, train })', { options })
  checkNames('crossValidate', options, ['folds', 'seed', 'stratify', 'train'])
  const { train, ...choice } = options
  const folds: Measures[] = []
  // The first split throws the error of a wrong number of folds.
  for (let fold = 0; fold === 0 || fold < choice.folds; fold++)
    folds.push(await train({ ...split(data, { ...choice, fold }), fold }))
  return { folds, metrics: summarizeFolds(folds) }
}

/** Mean and spread of the loss and the metrics that are one number in some fold. */
export function summarizeFolds(folds: readonly Measures[]): Readonly<Record<string, FoldMetric>> {
  const names = new Set(['loss', ...folds.flatMap(({ count: _, ...measures }) => Object.keys(measures))])
  const valuesOf = (name: string) =>
    folds.map((fold) => getOwn(fold, name)).filter((value) => typeof value === 'number')
  return Object.fromEntries(
    [...names].flatMap((name) => {
      const values = valuesOf(name)
      return values.length === 0 ? [] : [[name, { mean: mean(values), deviation: deviation(values), values }]]
    }),
  )
}
