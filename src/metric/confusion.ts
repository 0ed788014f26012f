import { op } from '../op/op.js'
import { OnnxIreError } from '../util/errors.js'
import { checkThreshold, classCount, decide, histogram } from './decisions.js'
import type { Metric } from './metric.js'

/** Limit of the matrix: more classes would take over 16 MB per batch. */
const maxClasses = 2000

/** Options of `confusion`. */
export interface ConfusionOptions {
  /** Probability above which a yes-or-no answer is yes, in (0, 1). Default 0.5. */
  readonly threshold?: number
}

/**
 * Confusion matrix: how often each true class was predicted as each class, `confusion[true][predicted]`; for yes-or-no
 * [[true no, false yes], [false no, true yes]] over all elements. Reported as `confusion`.
 * @throws 'invalid-option', when built onto a model also for more than 2,000 classes
 */
export function confusion({ threshold = 0.5 }: ConfusionOptions = {}): Metric {
  checkThreshold('confusion', threshold)
  return {
    name: 'confusion',
    build(comparison) {
      if (comparison.kind === 'values') return null
      const classes = comparison.kind === 'binary' ? 2 : classCount(comparison, 'confusion')
      if (classes > maxClasses)
        throw new OnnxIreError(
          'invalid-option',
          `confusion: the model has ${classes} classes, more than ${maxClasses}; measure perClass or f1 instead`,
        )
      const { predicted, actual, counted } = decide(comparison, threshold)
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
