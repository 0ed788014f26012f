import { dtypes } from '../ir/dtype.js'
import { scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNames, invalidOption } from '../util/check.js'
import { columnCount, countUnmasked, sumUnmasked } from './decisions.js'
import type { Metric } from './metric.js'

/** Mean absolute error over all elements, in the targets' unit. Reported as `mae`. */
export const mae = (): Metric =>
  errorMetric(
    'mae',
    (e) => op.Abs(e),
    (mean) => mean,
  )

/** Root mean squared error over all elements, in the targets' unit. Reported as `rmse`. */
export const rmse = (): Metric => errorMetric('rmse', (e) => op.Mul(e, e), Math.sqrt)

const errorMetric = (name: string, f: (error: Value) => Value, fromMean: (mean: number) => number): Metric => ({
  name,
  build(comparison) {
    if (comparison.kind !== 'values') return null
    const { output, targets, mask } = comparison
    return {
      sums: new Map([
        ['sum', sumUnmasked(f(op.Sub(output, targets)), mask)],
        ['count', countUnmasked(output, mask, output)],
      ]),
      measure: ({ sum, count }) => ({ [name]: fromMean(sum![0]! / count![0]!) }),
    }
  },
})

/** Options of `r2`. */
export interface R2Options {
  /**
   * Number near the mean of the targets, in their unit, subtracted from them before they are summed. It changes only
   * the rounding error, which grows with (mean - shift)^2 / variance: 1e-16 of that in float64, 1e-7 in float32.
   * Default 0.
   */
  readonly shift?: number
  /** Type of the sums. 'float32' is for runtimes without float64; set `shift` too. Default 'float64'. */
  readonly precision?: 'float32' | 'float64'
}

/**
 * Coefficient of determination, 1 - sum (t - y)^2 / sum (t - mean t)^2, with the definition of scikit-learn's
 * `r2_score`. For outputs with several columns ([N, D], D static) the mean over the columns; a column whose targets are
 * all equal counts 1 if every output equals them, else 0. Reported as `r2`.
 * @throws OnnxIreError `invalid-option`
 */
export function r2(options: R2Options = {}): Metric {
  checkNames('r2', options, ['shift', 'precision'])
  const { shift = 0, precision = 'float64' } = options
  if (!Number.isFinite(shift)) throw invalidOption('r2', 'shift', shift, 'a number')
  if (precision !== 'float32' && precision !== 'float64')
    throw invalidOption('r2', 'precision', precision, "'float32' or 'float64'")
  return {
    name: 'r2',
    build(comparison) {
      if (comparison.kind !== 'values') return null
      const { output, targets, mask } = comparison
      const columns = columnCount(output)
      const rounding = precision === 'float64' ? 1e-14 : 1e-6
      const toPrecision = (x: Value) => op.Cast(x, { to: dtypes[precision].onnx })
      const perColumn = (x: Value) =>
        op.ReduceSum(op.Reshape(mask ? op.Where(mask, x, 0) : x, [-1, columns]), [0], { keepdims: 0 })
      const [y, t] = [toPrecision(output), toPrecision(targets)]
      const shifted = shift === 0 ? t : op.Sub(t, shift)
      const error = op.Sub(t, y)
      return {
        sums: new Map([
          ['count', perColumn(op.Expand(scalar(precision, 1), op.Shape(t)))],
          ['targets', perColumn(shifted)],
          ['squares', perColumn(op.Mul(shifted, shifted))],
          ['errors', perColumn(op.Mul(error, error))],
        ]),
        measure: ({ count, targets, squares, errors }) => {
          const scores = Array.from(count!, (n, d) => {
            // sum (t - mean)^2 = sum t^2 - (sum t)^2 / n; for equal targets the difference is rounding error only.
            const spread = squares![d]! - targets![d]! ** 2 / n
            return spread <= rounding * squares![d]! ? Number(errors![d]! === 0) : 1 - errors![d]! / spread
          })
          return { r2: scores.reduce((a, b) => a + b, 0) / scores.length }
        },
      }
    },
  }
}
