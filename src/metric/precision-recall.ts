import { invalidOption } from '../util/check.js'
import { type ClassCounts, countsFrom, countsPerClass } from './class-counts.js'
import type { Metric } from './metric.js'

/** How the numbers of several classes become one. */
export type Average = 'macro' | 'micro' | 'weighted'

/** Options of `precision`, `recall` and `f1`. */
export interface AverageOptions {
  /**
   * 'macro': the mean over classes; 'weighted': that weighted by how often each is true; 'micro': of the counts of all classes
   * together. Without meaning for a single yes-or-no. Default 'macro'.
   */
  readonly average?: Average
  /** The probability above which an answer counts as yes, in (0, 1); for yes-or-no. Default 0.5. */
  readonly threshold?: number
}

/** Options of `perClass`. */
export interface PerClassOptions {
  /** The probability above which an answer counts as yes, in (0, 1); for yes-or-no. Default 0.5. */
  readonly threshold?: number
}

type Score = (hits: number, predicted: number, actual: number) => number

/** 0 where nothing was predicted or true. */
const ratio = (a: number, b: number): number => (b === 0 ? 0 : a / b)
const scores = {
  precision: (hits, predicted) => ratio(hits, predicted),
  recall: (hits, _, actual) => ratio(hits, actual),
  // The harmonic mean of both.
  f1: (hits, predicted, actual) => ratio(2 * hits, predicted + actual),
} satisfies Record<string, Score>

/**
 * The share of answers of a class that are right, as scikit-learn's `precision_score` with `zero_division=0`. Reported as
 * `precision`, with another average than 'macro' as `precision-micro` or `precision-weighted`. Throws `invalid-option`.
 */
export const precision = (options: AverageOptions = {}): Metric => averaged('precision', options)

/**
 * The share of a class that is found, as scikit-learn's `recall_score` with `zero_division=0`. Reported as `recall`, with
 * another average than 'macro' as `recall-micro` or `recall-weighted`. Throws `invalid-option`.
 */
export const recall = (options: AverageOptions = {}): Metric => averaged('recall', options)

/**
 * 2 precision recall / (precision + recall), as scikit-learn's `f1_score` with `zero_division=0`. Reported as `f1`, with
 * another average than 'macro' as `f1-micro` or `f1-weighted`. Throws `invalid-option`.
 */
export const f1 = (options: AverageOptions = {}): Metric => averaged('f1', options)

/**
 * Precision, recall and F1 of every class, and how often it is true: reported as the lists `precisionPerClass`,
 * `recallPerClass`, `f1PerClass` and `supportPerClass`. For several yes-or-no labels per example, [N, L], one number per label.
 * Throws `invalid-option`.
 */
export function perClass({ threshold = 0.5 }: PerClassOptions = {}): Metric {
  checkThreshold('perClass', threshold)
  return {
    name: 'perClass',
    build(compared) {
      if (compared.kind === 'values') return null
      return {
        sums: countsPerClass(compared, threshold, 'perClass').sums,
        measure: (sums) => {
          const counts = countsFrom(sums)
          return {
            precisionPerClass: eachClass(scores.precision, counts),
            recallPerClass: eachClass(scores.recall, counts),
            f1PerClass: eachClass(scores.f1, counts),
            supportPerClass: [...counts.actual],
          }
        },
      }
    },
  }
}

function averaged(kind: keyof typeof scores, { average = 'macro', threshold = 0.5 }: AverageOptions): Metric {
  if (!['macro', 'micro', 'weighted'].includes(average))
    throw invalidOption(kind, 'average', average, "'macro', 'micro' or 'weighted'")
  checkThreshold(kind, threshold)
  const name = average === 'macro' ? kind : `${kind}-${average}`
  return {
    name,
    build(compared) {
      if (compared.kind === 'values') return null
      const { sums, columns } = countsPerClass(compared, threshold, name)
      return { sums, measure: (sums) => ({ [name]: averageOf(scores[kind], countsFrom(sums), average, columns) }) }
    },
  }
}

function checkThreshold(owner: string, threshold: number): void {
  if (!(threshold > 0 && threshold < 1)) throw invalidOption(owner, 'threshold', threshold, 'a number in (0, 1)')
}

const eachClass = (score: Score, { hits, predicted, actual }: ClassCounts): number[] =>
  Array.from(hits, (hit, c) => score(hit, predicted[c]!, actual[c]!))

function averageOf(score: Score, counts: ClassCounts, average: Average, columns: boolean): number {
  const { hits, predicted, actual } = counts
  if (average === 'micro') return score(sum(hits), sum(predicted), sum(actual))
  const each = eachClass(score, counts)
  if (average === 'weighted')
    return ratio(
      each.reduce((all, value, c) => all + value * actual[c]!, 0),
      sum(actual),
    )
  // scikit-learn takes the mean over the classes that occur or are predicted, and over every one of several labels.
  const among = each.filter((_, c) => columns || predicted[c]! > 0 || actual[c]! > 0)
  return ratio(sum(among), among.length)
}

const sum = (values: Iterable<number>): number => {
  let all = 0
  for (const value of values) all += value
  return all
}
