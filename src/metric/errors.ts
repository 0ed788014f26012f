import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { countOf, total } from './counted.js'
import type { Metric } from './metric.js'

/** The mean absolute error over all elements, in the targets' unit. Reported as `mae`. */
export const mae = (): Metric =>
  ofErrors(
    'mae',
    (e) => op.Abs(e),
    (mean) => mean,
  )

/** The root of the mean squared error over all elements, in the targets' unit. Reported as `rmse`. */
export const rmse = (): Metric => ofErrors('rmse', (e) => op.Mul(e, e), Math.sqrt)

const ofErrors = (name: string, of: (error: Value) => Value, from: (mean: number) => number): Metric => ({
  name,
  build(compared) {
    if (compared.kind !== 'values') return null
    const { output, targets, kept } = compared
    return {
      sums: new Map([
        ['sum', total(of(op.Sub(output, targets)), kept)],
        ['count', countOf(output, kept, output)],
      ]),
      measure: ({ sum, count }) => ({ [name]: from(sum![0]! / count![0]!) }),
    }
  },
})
