import { type DType, dtypes } from '../../ir/dtype.js'
import { int64s } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import type { quantization } from '../definitions/quantization.js'
import { op } from '../op.js'
import { cast } from './cast.js'
import type { Expansions } from './expansion.js'

interface Blocks {
  readonly axis: number
  readonly block_size: number
}

/**
 * Scales or zero points, broadcast to `x`: one for all elements, one per index of `axis`, or one per block along it.
 */
export function expandToBlocks(s: Value, x: Value, { axis, block_size }: Blocks): Value {
  if (block_size > 0) return repeatBlocks(s, x, axis, block_size)
  if (s.shape?.length === 0 || (s.shape?.length === 1 && s.shape[0] === 1)) return op.Reshape(s, int64s([]))
  if (!s.shape || !x.shape) throw new OnnxIreError('not-differentiable', 'a scale or x has an unknown number of axes')
  const behind = x.shape.length - 1 - axisOf(axis, x.shape.length)
  return behind === 0
    ? s
    : op.Unsqueeze(
        s,
        Array.from({ length: behind }, (_, i) => i + 1),
      )
}

/** Repeats each element `size` times along `axis`, up to the length of `x`. */
export function repeatBlocks(s: Value, x: Value, axis: number, size: number): Value {
  const rank = s.shape?.length
  if (rank === undefined) throw new OnnxIreError('not-differentiable', 'a scale has an unknown number of axes')
  const at = axisOf(axis, rank)
  const each = Array.from({ length: rank + 1 }, (_, i) => (i === at + 1 ? size : 1))
  const repeated = op.Expand(op.Unsqueeze(s, [at + 1]), each)
  const shape = [op.Shape(s, { end: at }), int64s([-1]), op.Shape(s, { start: at + 1 })]
  const whole = op.Reshape(repeated, op.Concat(shape, { axis: 0 }))
  const [length, wanted] = [s.shape![at]!, x.shape?.[at]]
  if (typeof length === 'number' && length * size === wanted) return whole
  return op.Slice(whole, [0], op.Shape(x, { start: at, end: at + 1 }), [at])
}

/** Range of an integer type. */
export function rangeOf(dtype: DType): readonly [low: number, high: number] {
  const { bits } = dtypes[dtype]
  return dtype.startsWith('u') ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
}

/**
 * Expansions of QuantizeLinear and DequantizeLinear for the straight-through estimator (Bengio et al., 2013): they are
 * differentiated as if nothing were rounded, so the gradient passes if `x` is in the representable range and is 0
 * otherwise. For a pair of both, the gradient of the scale is that of learned step size quantization (Esser et al.,
 * 2020): round(x / s) - x / s inside the range, and the clipping bound outside it.
 */
export const quantizationExpansions = {
  // clip(x / s + z), between half a step below the lowest number and half a step above the highest
  QuantizeLinear: ([x, scale, zeroPoint = null], attributes) => {
    const dtype = zeroPoint?.dtype ?? quantizedTo(attributes.output_dtype)
    const [low, high] = rangeOf(dtype)
    const steps = op.Div(x, cast(expandToBlocks(scale, x, attributes), x.dtype))
    const shifted = zeroPoint ? op.Add(steps, expandToBlocks(cast(zeroPoint, x.dtype), x, attributes)) : steps
    return cast(op.Clip(shifted, low - 0.5, high + 0.5), 'float32')
  },
  // (x - z) s
  DequantizeLinear: ([x, scale, zeroPoint = null], attributes) => {
    const steps = cast(x, scale.dtype)
    const centered = zeroPoint ? op.Sub(steps, expandToBlocks(cast(zeroPoint, scale.dtype), x, attributes)) : steps
    const y = op.Mul(centered, expandToBlocks(scale, x, attributes))
    const { output_dtype } = attributes
    return output_dtype === 0 ? y : op.Cast(y, { to: output_dtype })
  },
} satisfies Expansions<typeof quantization>

const quantizedTo = (outputDtype: number): DType =>
  (Object.keys(dtypes) as DType[]).find((dtype) => dtypes[dtype].onnx === outputDtype) ?? 'uint8'
