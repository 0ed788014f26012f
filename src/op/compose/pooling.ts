import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import type { pooling } from '../definitions/pooling.js'
import { op } from '../op.js'
import type { Expansions } from './expansion.js'

/** Axes of [N, C, ...] that are pooled over. */
export function spatialAxes(operator: string, x: Value): readonly number[] {
  if (x.shape) return x.shape.slice(2).map((_, i) => i + 2)
  throw new OnnxIreError(
    'not-differentiable',
    `${operator}: its gradient needs the number of axes of its input; declare the shape of the model's input`,
  )
}

export const poolingExpansions = {
  GlobalAveragePool: ([x]) => op.ReduceMean(x, spatialAxes('GlobalAveragePool', x), { keepdims: 1 }),
  GlobalMaxPool: ([x]) => op.ReduceMax(x, spatialAxes('GlobalMaxPool', x), { keepdims: 1 }),
  GlobalLpPool: ([x], { p }) => {
    const axes = spatialAxes('GlobalLpPool', x)
    if (p === 1) return op.ReduceL1(x, axes, { keepdims: 1 })
    if (p === 2) return op.ReduceL2(x, axes, { keepdims: 1 })
    return op.Pow(op.ReduceSum(op.Pow(op.Abs(x), p), axes, { keepdims: 1 }), 1 / p)
  },
} satisfies Expansions<typeof pooling>
