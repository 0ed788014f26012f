import { int64s } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import type { pooling } from '../definitions/pooling.js'
import { op } from '../op.js'
import type { WindowAxis } from '../window.js'

import type { Expansions } from './expansion.js'
import { rootOf } from './statistics.js'

/**
 * Padding of SAME_UPPER or SAME_LOWER, int64 [axes]: max(0, (ceil(length / stride) - 1) stride + extent - length),
 * split in two.
 */
export function samePads(
  x: Value,
  kernel: Value,
  window: readonly WindowAxis[],
  autoPad: string,
): { before: Value; after: Value } {
  const length = op.Shape(x, { start: 2 })
  const stride = int64s(window.map(({ stride }) => stride))
  const extent = op.Add(op.Mul(op.Sub(kernel, 1), int64s(window.map(({ dilation }) => dilation))), 1)
  const lastStart = op.Mul(op.Div(op.Sub(length, 1), stride), stride)
  const total = op.Max([op.Sub(op.Add(lastStart, extent), length), int64s([0])])
  const half = op.Div(total, int64s([2]))
  const rest = op.Sub(total, half)
  return autoPad === 'SAME_UPPER' ? { before: half, after: rest } : { before: rest, after: half }
}

/** Axes of [N, C, ...] that are pooled over. */
function spatialAxes(operator: string, x: Value): readonly number[] {
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
    return rootOf(op.ReduceSum(op.Pow(op.Abs(x), p), axes, { keepdims: 1 }), p)
  },
} satisfies Expansions<typeof pooling>
