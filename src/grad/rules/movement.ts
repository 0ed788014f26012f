import { dtypes } from '../../ir/dtype.js'
import { constantNumber, int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { lengthAlong, reshapeLike } from '../../op/compose/shape.js'
import { knownNumbers } from '../../op/contents.js'
import type { generation } from '../../op/definitions/generation.js'
import type { movement } from '../../op/definitions/movement.js'
import { op } from '../../op/op.js'
import { sumTo } from '../broadcast.js'
import type { Rules } from '../rule.js'

function inversePermutation(perm: readonly number[]): readonly number[] {
  const order = Array<number>(perm.length).fill(0)
  for (const [to, from] of perm.entries()) order[from] = to
  return order
}

/**
 * Gradient of Tile: x repeated r_a times along axis a has axes (r_a, d_a) for d_a; the gradient sums over every r_a.
 */
function tileGradient(dy: Value, x: Value, repeats: Value): Value {
  const known = knownNumbers(repeats)
  if (known && x.shape) {
    const repeated = known.flatMap((count, axis) => (count === 1 ? [] : [axis]))
    if (repeated.length === 0) return dy
    const shape = known.flatMap((count, axis) => [...(count === 1 ? [] : [int64s([count])]), lengthAlong(x, axis)])
    const axes = repeated.map((axis, before) => axis + before)
    return op.ReduceSum(op.Reshape(dy, op.Concat(shape, { axis: 0 })), axes, { keepdims: 0 })
  }
  const columns = [repeats, op.Shape(x)].map((column) => op.Unsqueeze(column, [1]))
  const shape = op.Reshape(op.Concat(columns, { axis: 1 }), [-1])
  const axes = op.Range(0, op.Size(shape), 2)
  return op.ReduceSum(op.Reshape(dy, shape), axes, { keepdims: 0, noop_with_empty_axes: 1 })
}

/**
 * Gradient of DepthToSpace in mode CRD: [N, C, H b, W b] to [N, C b b, H, W], elements of a block after their
 * channel.
 */
function depthToSpaceGradient(dy: Value, x: Value, b: number): Value {
  const [n, c, h, w] = [0, 1, 2, 3].map((axis) => lengthAlong(x, axis)) as [Value, Value, Value, Value]
  const block = int64s([b])
  const split = op.Concat([n, op.Div(c, int64s([b * b])), h, block, w, block], { axis: 0 })
  return reshapeLike(op.Transpose(op.Reshape(dy, split), { perm: [0, 1, 3, 5, 2, 4] }), x)
}

export const movementRules = {
  Reshape: ([x], dy) => [reshapeLike(dy, x), null],
  Flatten: ([x], dy) => [reshapeLike(dy, x)],
  Squeeze: ([x, axes], dy) => [axes ? op.Unsqueeze(dy, axes) : reshapeLike(dy, x), null],
  // onnxruntime takes an axis that is a number, not a vector, in Unsqueeze, but not in Squeeze.
  Unsqueeze: ([x, axes], dy) => [axes.shape?.length === 1 ? op.Squeeze(dy, axes) : reshapeLike(dy, x), null],
  Transpose: (_, dy, { attributes: { perm } }) => [
    perm ? op.Transpose(dy, { perm: inversePermutation(perm) }) : op.Transpose(dy),
  ],
  Expand: ([x], dy) => [sumTo(dy, x), null],
  Tile: ([x, repeats], dy) => [tileGradient(dy, x, repeats), null],
  DepthToSpace: ([x], dy, { attributes: { blocksize, mode } }) => [
    mode === 'CRD' ? depthToSpaceGradient(dy, x, blocksize) : op.SpaceToDepth(dy, { blocksize }),
  ],
  SpaceToDepth: (_, dy, { attributes: { blocksize } }) => [op.DepthToSpace(dy, { blocksize })],
} satisfies Rules<typeof movement>

/** Factor of the elements that Dropout keeps: 1 / (1 - ratio), or 1 outside training mode. */
function dropoutScale(x: Value, ratio: Value | null, training: Value): Value {
  const given = ratio ?? scalar(x.dtype, 0.5)
  const scale = op.Reciprocal(op.Sub(1, op.Cast(given, { to: dtypes[x.dtype].onnx })))
  return constantNumber(training) === 1 ? scale : op.Where(training, scale, 1)
}

export const generationRules = {
  Dropout: ([x, ratio, training], [dy], { y: [, mask] }) => {
    if (!dy) return [null, null, null]
    if (training === null || constantNumber(training) === 0) return [dy, null, null]
    return [op.Where(mask, op.Mul(dy, dropoutScale(x, ratio, training)), 0), null, null]
  },
} satisfies Rules<typeof generation>
