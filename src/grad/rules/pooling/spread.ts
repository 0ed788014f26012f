import { constant, int64s, scalar, tensorFrom } from '../../../ir/leaf.js'
import { sizeOf } from '../../../ir/tensor.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/index.js'
import type { WindowAxis } from '../../../op/window.js'
import { inputGradient } from '../convolution/input.js'
import { withKnownPadding } from '../convolution/padding.js'

/**
 * The adjoint of summing over windows: every element of `x` receives the sum of `dy` over the windows that see it.
 */
export function spread(dy: Value, window: readonly WindowAxis[], autoPad: string, x: Value): Value {
  if (tiles(dy, window, x)) return repeated(dy, window, x)
  const kernel = window.map(({ kernel }) => kernel as number)
  const ones = constant(tensorFrom(dy.dtype, [1, 1, ...kernel], Array<number>(sizeOf(kernel)).fill(1)))
  // Channels become images: one kernel for all of them, however many there are.
  const images = op.Reshape(dy, op.Concat([int64s([-1, 1]), op.Shape(dy, { start: 2 })], { axis: 0 }))
  const [dx] = withKnownPadding(x, int64s(kernel), window, autoPad, (x, window) => {
    const dx = inputGradient(images, ones, window, 1, x)
    return [op.Reshape(dx, op.Shape(x))]
  })
  return dx
}

/** Windows side by side that cover all of x. */
const tiles = (dy: Value, window: readonly WindowAxis[], x: Value): boolean =>
  window.every(({ kernel, stride, dilation, before }, i) => {
    const [windows, length] = [dy.shape?.[i + 2], x.shape?.[i + 2]]
    return kernel === stride && dilation === 1 && before === 0 && typeof windows === 'number' && windows * stride === length
  })

/** [N, C, H, W] -> [N, C, H k, W k], every element k times along its axis. */
function repeated(dy: Value, window: readonly WindowAxis[], x: Value): Value {
  const windows = dy.shape!.slice(2) as readonly number[]
  const lead = op.Shape(dy, { end: 2 })
  const apart = op.Reshape(dy, op.Concat([int64s([0, 0]), int64s(windows.flatMap((length) => [length, 1]))], { axis: 0 }))
  const repeats = int64s(window.flatMap(({ kernel }, i) => [windows[i]!, kernel as number]))
  return op.Reshape(op.Expand(apart, op.Concat([lead, repeats], { axis: 0 })), op.Shape(x))
}

/** A tensor of ones, `[1, 1, ...]` with the given spatial lengths. */
export const onesOf = (like: Value, spatial: Value): Value =>
  op.Expand(scalar(like.dtype, 1), op.Concat([int64s([1, 1]), spatial], { axis: 0 }))
