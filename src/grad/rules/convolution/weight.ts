import { isStatic, productOf } from '../../../ir/shape.js'
import { sizeOf } from '../../../ir/tensor.js'
import type { Value } from '../../../ir/value.js'
import { swapFirst } from '../../../op/compose/shape.js'
import { op } from '../../../op/op.js'
import type { WindowAxis } from '../../../op/window.js'
import { columnsOfChannels, columnsOfImages } from './columns.js'
import { depthwiseGradient, shiftsApart } from './depthwise.js'
import { byTransposedConvolution } from './transposed.js'

// Measured on onnxruntime's CPU provider.
/** Kernels with more taps are not worth unfolding into columns. */
const MANY_TAPS = 15
/** From this many windows per image on, a product for each image is faster than bringing all images together. */
const MANY_WINDOWS = 512

/**
 * The gradient of Conv's weights [g m, c, ...]: every weight meets, over all images and windows, the element it was
 * multiplied with and the gradient of the result. Four forms of the same sum, each where it is the fastest.
 */
export function weightGradient(x: Value, w: Value, dy: Value, window: readonly WindowAxis[], group: number): Value {
  if (!isStatic(w.shape)) return byTransposedConvolution(x, w, dy, window, group)
  const [outputs, c, ...kernel] = w.shape
  const taps = sizeOf(kernel)
  if (c === 1 && outputs === group && taps > 1 && shiftsApart(kernel, window))
    return op.Reshape(depthwiseGradient(x, dy, window), w.shape)
  if (taps > MANY_TAPS) return byTransposedConvolution(x, w, dy, window, group)
  const windows = productOf(dy.shape!.slice(2))
  // Images become a spatial axis where they come together, and there are no convolutions over four.
  const apart = kernel.length > 2 || (typeof windows === 'number' && windows > MANY_WINDOWS)
  const m = outputs! / group
  return op.Reshape(
    apart
      ? overEachImage(columnsOfImages(x, kernel, window, c! * group), dy, group, m)
      : overAllImages(columnsOfChannels(x, kernel, window), dy, group, m, c! * taps),
    w.shape,
  )
}

/** [g, m, N windows] [g, c taps, N windows]^T */
function overAllImages(columns: Value, dy: Value, group: number, m: number, rows: number): Value {
  if (group === 1) return op.Gemm(op.Reshape(swapFirst(dy), [m, -1]), op.Reshape(columns, [rows, -1]), { transB: 1 })
  return op.MatMul(
    op.Reshape(swapFirst(dy), [group, m, -1]),
    op.Transpose(op.Reshape(columns, [group, rows, -1]), { perm: [0, 2, 1] }),
  )
}

/** sum over N of [g, m, windows] [g, c taps, windows]^T */
function overEachImage(columns: Value, dy: Value, group: number, m: number): Value {
  const rows = op.Reshape(columns, [0, group, (columns.shape![1] as number) / group, -1])
  const product = op.MatMul(op.Reshape(dy, [0, group, m, -1]), op.Transpose(rows, { perm: [0, 1, 3, 2] }))
  return op.ReduceSum(product, [0], { keepdims: 0 })
}
