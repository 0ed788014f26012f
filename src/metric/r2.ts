import { dtypes } from '../ir/dtype.js'
import { scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { invalidOption } from '../util/check.js'
import type { Metric } from './metric.js'

/** Options of `r2`. */
export interface R2Options {
  /**
   * A number near the targets' mean, in their unit, that is subtracted before sums are taken. It changes the result by rounding
   * only, which grows with (mean - shift)^2 / variance: 1e-16 of that in float64, 1e-7 in float32. Default 0.
   */
  readonly shift?: number
  /** The type of the sums. 'float32' is for runtimes without float64; give it a `shift`. Default 'float64'. */
  readonly precision?: 'float32' | 'float64'
}

/**
 * The coefficient of determination, 1 - sum (t - y)^2 / sum (t - mean t)^2, as scikit-learn's `r2_score`: where outputs have
 * several columns ([N, D], D known) of each column, then the mean; a column whose targets are all equal gives 1 where every
 * output is too, else 0. Reported as `r2`. Throws `invalid-option`.
 */
export function r2({ shift = 0, precision = 'float64' }: R2Options = {}): Metric {
  if (!Number.isFinite(shift)) throw invalidOption('r2', 'shift', shift, 'a number')
  if (precision !== 'float32' && precision !== 'float64')
    throw invalidOption('r2', 'precision', precision, "'float32' or 'float64'")
  return {
    name: 'r2',
    build(compared) {
      if (compared.kind !== 'values') return null
      const { output, targets, kept } = compared
      const { shape } = output
      const last = shape?.at(-1)
      const columns = shape !== undefined && shape.length > 1 && typeof last === 'number' ? last : 1
      const rounding = precision === 'float64' ? 1e-14 : 1e-6
      const wide = (x: Value) => op.Cast(x, { to: dtypes[precision].onnx })
      const perColumn = (x: Value) =>
        op.ReduceSum(op.Reshape(kept ? op.Where(kept, x, 0) : x, [-1, columns]), [0], { keepdims: 0 })
      const [y, t] = [wide(output), wide(targets)]
      const moved = shift === 0 ? t : op.Sub(t, shift)
      const error = op.Sub(t, y)
      return {
        sums: new Map([
          ['count', perColumn(op.Expand(scalar(precision, 1), op.Shape(t)))],
          ['targets', perColumn(moved)],
          ['squares', perColumn(op.Mul(moved, moved))],
          ['errors', perColumn(op.Mul(error, error))],
        ]),
        measure: ({ count, targets, squares, errors }) => {
          const each = Array.from(count!, (n, d) => {
            // sum (t - mean)^2 = sum t^2 - (sum t)^2 / n, of equal targets no more than rounding.
            const spread = squares![d]! - targets![d]! ** 2 / n
            return spread <= rounding * squares![d]! ? Number(errors![d]! === 0) : 1 - errors![d]! / spread
          })
          return { r2: each.reduce((a, b) => a + b, 0) / each.length }
        },
      }
    },
  }
}
