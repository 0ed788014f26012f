import { productOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { op } from '../../op/op.js'

/** Number of elements of an image from which a convolution is faster than a product and a sum. */
const minPositions = 196

/** x k + b for images x [N, C, ...], with numbers k and b per channel: [C, 1, ...]. */
interface AffineMap {
  readonly x: Value
  readonly k: Value
  readonly b: Value
}

/** The affine map per channel whose sum Add computes; null for another sum, and for small images. */
export function affineMap(product: Value | null, b: Value | null): AffineMap | null {
  if (product?.source.kind !== 'node' || product.source.operator !== 'Mul' || product.dtype !== 'float32') return null
  const [x, k] = product.source.inputs as readonly [Value, Value]
  const channels = x.shape?.[1]
  if (!x.shape || x.shape.length < 3 || typeof channels !== 'number') return null
  const perChannel = (value: Value | null) =>
    value?.shape?.length === x.shape!.length - 1 && value.shape.every((length, i) => length === (i ? 1 : channels))
  const positions = productOf(x.shape.slice(2))
  const isLarge = typeof positions === 'number' && positions >= minPositions
  return isLarge && perChannel(k) && perChannel(b) ? { x, k, b: b! } : null
}

/** An affine map as a depthwise convolution with kernels of one element: one pass over x. k and b may be [C], too. */
export function mapChannels({ x, k, b }: AffineMap): Value {
  const ones = x.shape!.slice(2).map(() => 1)
  return op.Conv(x, op.Reshape(k, [-1, 1, ...ones]), op.Reshape(b, [-1]), {
    group: x.shape![1] as number,
    kernel_shape: ones,
  })
}
