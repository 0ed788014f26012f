import { op } from '../op/op.js'
import { invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { classesOf, decisionsOf, histogram } from './counted.js'
import type { Metric } from './metric.js'

/** A matrix of more classes takes over 16 MB at every batch, and nobody reads it. */
const MOST_CLASSES = 2000

/** Options of `confusion`. */
export interface ConfusionOptions {
  /** The probability above which an answer counts as yes, in (0, 1); for yes-or-no. Default 0.5. */
  readonly threshold?: number
}

/**
 * How often each true class was taken for each, `confusion[true][predicted]`; for yes-or-no [[true no, false yes],
 * [false no, true yes]] over all elements. Throws `invalid-option`, also for more than 2,000 classes.
 */
export function confusion({ threshold = 0.5 }: ConfusionOptions = {}): Metric {
  if (!(threshold > 0 && threshold < 1)) throw invalidOption('confusion', 'threshold', threshold, 'a number in (0, 1)')
  return {
    name: 'confusion',
    build(compared) {
      if (compared.kind === 'values') return null
      const classes = compared.kind === 'binary' ? 2 : classesOf(compared, 'confusion')
      if (classes > MOST_CLASSES)
        throw new OnnxIreError(
          'invalid-option',
          `confusion: a matrix of ${classes} classes is larger than ${MOST_CLASSES} x ${MOST_CLASSES}; measure perClass or f1 instead`,
        )
      const { predicted, actual, counted } = decisionsOf(compared, threshold)
      const cells = histogram(op.Add(op.Mul(actual, classes), predicted), counted, classes * classes)
      return {
        sums: new Map([['cells', cells]]),
        measure: ({ cells }) => ({
          confusion: Array.from({ length: classes }, (_, c) => [...cells!.subarray(c * classes, (c + 1) * classes)]),
        }),
      }
    },
  }
}
