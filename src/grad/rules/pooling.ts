import { int64s, scalar } from '../../ir/leaf.js'
import type { Dim } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import type { pooling } from '../../op/definitions/pooling.js'
import { op } from '../../op/op.js'
import { extentOf, type WindowAttributes, type WindowAxis, windowOf } from '../../op/window.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Rules } from '../rule.js'
import { withKnownPadding } from './convolution/padding.js'
import { averagePoolDivisor } from './pooling/divisor.js'
import { spreadOverWindows } from './pooling/spread.js'

/** Lengths of the pooled axes; new symbols if the rank is unknown. */
const spatialOf = (x: Value, kernel: readonly number[]): readonly Dim[] =>
  x.shape?.slice(2) ?? kernel.map((_, i) => `?axis${i}`)

interface PoolAttributes extends WindowAttributes {
  readonly kernel_shape: readonly number[]
}

/** Largest number of taps of a window: the gradient needs a kernel of ones of this size as a constant. */
const MANY_TAPS = 2 ** 20

function poolWindow(operator: string, x: Value, attributes: PoolAttributes): readonly WindowAxis[] {
  const { kernel_shape } = attributes
  if (sizeOf(kernel_shape) > MANY_TAPS) {
    throw new OnnxIreError(
      'not-differentiable',
      `${operator}: windows of [${kernel_shape.join(', ')}] are too large for a gradient; use a global pool`,
    )
  }
  return windowOf(attributes, kernel_shape, spatialOf(x, kernel_shape))
}

export const poolingRules = {
  // The largest element of each window, by its index in the whole tensor, receives the window's gradient.
  MaxPool: ([x], [dy], { y: [, indices], attributes }) => {
    if (!dy) return [null]
    const rowMajor = attributes.storage_order === 0 ? indices : op.MaxPool(x, { ...attributes, storage_order: 0 })[1]
    const disjoint = poolWindow('MaxPool', x, attributes).every((axis) => axis.stride >= (extentOf(axis) as number))
    const nothing = op.Reshape(op.Expand(scalar(dy.dtype, 0), op.Shape(x)), [-1])
    const flat = op.ScatterElements(nothing, op.Reshape(rowMajor, [-1]), op.Reshape(dy, [-1]), {
      axis: 0,
      reduction: disjoint ? 'none' : 'add',
    })
    return [op.Reshape(flat, op.Shape(x))]
  },
  AveragePool: ([x], dy, { attributes }) => {
    const { auto_pad, ceil_mode, count_include_pad, kernel_shape } = attributes
    const window = poolWindow('AveragePool', x, attributes)
    const [dx] = withKnownPadding(x, int64s(kernel_shape), window, auto_pad, (padded, window, pad) => {
      const counting = {
        window,
        ceil: ceil_mode === 1 && !auto_pad.startsWith('SAME'),
        includePad: count_include_pad === 1,
        pad: padded === x ? undefined : pad,
      }
      const divisor = averagePoolDivisor(x, dy, counting)
      return [spreadOverWindows(op.Div(dy, divisor), window, 'NOTSET', padded)]
    })
    return [dx]
  },
  // y = (sum |x|^p)^(1/p): dx = sign(x) |x|^(p - 1) sum over windows of dy / y^(p - 1), and 0 for windows of zeros.
  LpPool: ([x], dy, { y, attributes }) => {
    const { p, auto_pad } = attributes
    const share = op.Where(op.Equal(y, 0), 0, op.Div(dy, power(y, p - 1)))
    return [op.Mul(slope(x, p), spreadOverWindows(share, poolWindow('LpPool', x, attributes), auto_pad, x))]
  },
} satisfies Rules<typeof pooling>

const power = (x: Value, exponent: number): Value => (exponent === 1 ? x : op.Pow(x, exponent))

/** Factor sign(x) |x|^(p - 1). */
const slope = (x: Value, p: number): Value =>
  p === 2 ? x : p === 1 ? op.Sign(x) : op.Mul(op.Sign(x), power(op.Abs(x), p - 1))
