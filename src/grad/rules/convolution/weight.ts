import { type Dim, isStatic, productOf } from '../../../ir/shape.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/index.js'
import type { WindowAxis } from '../../../op/window.js'
import { columnsOf } from './columns.js'
import { swapFirst } from './groups.js'
import { byTransposedConvolution } from './transposed.js'

/** Kernels with more taps are not worth unfolding (measured on the CPU provider, like the other bounds here). */
const MANY_TAPS = 15
/** With fewer windows per image than this a depthwise kernel is not either. */
const FEW_WINDOWS = 36

/**
 * The gradient of Conv's weights [g m, c, ...]: every weight meets, over all images and windows, the element it was
 * multiplied with and the gradient of the result. Of three forms the one that onnxruntime's CPU provider runs fastest.
 */
export function weightGradient(x: Value, w: Value, dy: Value, window: readonly WindowAxis[], group: number): Value {
  const windows = productOf(dy.shape!.slice(2))
  if (!isStatic(w.shape) || !unfolds(w.shape, group, windows)) return byTransposedConvolution(x, w, dy, window, group)
  const [outputs, c, ...kernel] = w.shape
  const columns = columnsOf(x, kernel, window, c! * group)
  // Products of single images cost N m c taps sums, bringing the images of all columns together N windows c taps copies.
  const together = group === 1 && typeof windows === 'number' && windows < 2 * outputs!
  const product = together ? overAllImages(columns, dy) : overEachImage(columns, dy, group, outputs! / group)
  return op.Reshape(product, w.shape)
}

/** Whether the columns are worth their making. */
function unfolds([outputs, c, ...kernel]: readonly number[], group: number, windows: Dim): boolean {
  const taps = kernel.reduce((product, length) => product * length, 1)
  const depthwise = c === 1 && outputs === group
  return taps === 1 || (taps <= MANY_TAPS && !(depthwise && typeof windows === 'number' && windows < FEW_WINDOWS))
}

/** [m, N windows] [c taps, N windows]^T */
function overAllImages(columns: Value, dy: Value): Value {
  const rows = (x: Value) => op.Reshape(swapFirst(op.Reshape(x, [0, 0, -1])), [0, -1])
  return op.Gemm(rows(dy), rows(columns), { transB: 1 })
}

/** sum over N of [g, m, windows] [g, c taps, windows]^T */
function overEachImage(columns: Value, dy: Value, group: number, m: number): Value {
  const taps = op.Reshape(columns, [0, group, (columns.shape![1] as number) / group, -1])
  const product = op.MatMul(op.Reshape(dy, [0, group, m, -1]), op.Transpose(taps, { perm: [0, 1, 3, 2] }))
  return op.ReduceSum(product, [0], { keepdims: 0 })
}
