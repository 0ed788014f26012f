import type { Dim } from '../../ir/shape.js'
import { define, int, zero } from '../define.js'

const gradient = zero('a lowering creates it, after differentiation')

/**
 * Operators of onnxruntime's CPU provider that change the layout of images. In blocked layout the elements of [N, C, H,
 * W] are stored in the order [N, C / b, H, W, b], where b depends on the processor; shapes do not show it. Only
 * lowerings use these operators.
 */
export const blockedLayout = {
  ReorderInput: define({
    inputs: ['x'],
    attributes: { channels_last: int(0) },
    domain: 'com.microsoft.nchwc',
    since: 1,
    gradient,
    flops: () => 0,
    infer: ({ inputs: [x] }) => x,
  }),
  ReorderOutput: define({
    inputs: ['x'],
    attributes: { channels: int.required, channels_last: int(0) },
    domain: 'com.microsoft.nchwc',
    since: 1,
    gradient,
    flops: () => 0,
    infer: ({ inputs: [x], attributes: { channels } }) => ({
      dtype: x.dtype,
      shape: x.shape?.map((dim, axis): Dim => (axis === 1 ? channels : dim)),
    }),
  }),
}
