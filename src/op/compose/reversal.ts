import type { DType } from '../../ir/dtype.js'
import { constant, internConstant, tensorFrom } from '../../ir/leaf.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { op } from '../op.js'

/**
 * Kernels of up to this many taps are flipped by a product with a permutation matrix: exact, and on onnxruntime's CPU
 * provider ten times as fast as a reversing Slice. Flipping dy and dx instead of w gains almost nothing more.
 */
const maxFlippedTaps = 64

/** Reverses the spatial axes of kernels of known shape. */
export function reverseTaps(w: Value): Value {
  const shape = w.shape as readonly number[]
  const taps = sizeOf(shape.slice(2))
  if (taps === 1) return w
  if (taps <= maxFlippedTaps)
    return op.Reshape(op.MatMul(op.Reshape(w, [-1, taps]), reversalMatrix(w.dtype, taps)), shape)
  const axes = shape.flatMap((length, axis) => (axis > 1 && length !== 1 ? [axis] : []))
  const backwards = axes.map(() => -1)
  return op.Slice(
    w,
    backwards,
    axes.map(() => -(2 ** 31)),
    axes,
    backwards,
  )
}

/** Matrix that reverses rows of `taps` elements: ones on the antidiagonal. */
const reversalMatrix = (dtype: DType, taps: number): Value =>
  internConstant(`reversal ${dtype} ${taps}`, () => {
    const ones = Array.from({ length: taps ** 2 }, (_, i) => Number((i % taps) + Math.floor(i / taps) === taps - 1))
    return constant(tensorFrom(dtype, [taps, taps], ones))
  })
