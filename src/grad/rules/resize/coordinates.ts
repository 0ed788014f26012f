import { dtypes } from '../../../ir/dtype.js'
import { scalar } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'

/** One resized axis at run time: float32 scalars, as onnxruntime computes with. */
export interface ResizedAxis {
  readonly scale: Value
  readonly inputLength: Value
  readonly outputLength: Value
  /** What tf_crop_and_resize crops to, in parts of the way from the first element to the last. */
  readonly region?: { readonly start: Value; readonly end: Value }
}

const float = (value: number) => scalar('float32', value)
const wide = (x: Value) => op.Cast(x, { to: dtypes.float64.onnx })
const narrow = (x: Value) => op.Cast(x, { to: dtypes.float32.onnx })

/** 0, 1, ... n - 1 as float32. */
export const counting = (n: Value): Value => op.Range(float(0), n, float(1))

/** Where the elements of the output lie on the input axis: float32 [output length]. `tf_half_pixel_for_nn` is that of operator set 11. */
export function coordinatesOf(mode: string, { scale, inputLength, outputLength, region }: ResizedAxis): Value {
  const at = counting(outputLength)
  const lastInput = op.Sub(inputLength, 1)
  const steps = op.Max([op.Sub(outputLength, 1), float(1)])
  if (region) {
    const { start, end } = region
    const along = op.Div(op.Mul(op.Mul(at, op.Sub(end, start)), lastInput), steps)
    const middle = op.Mul(op.Mul(op.Add(start, end), 0.5), lastInput)
    return op.Where(op.Greater(outputLength, 1), op.Add(op.Mul(start, lastInput), along), middle)
  }
  const middles = op.Div(op.Add(at, 0.5), scale)
  switch (mode) {
    case 'asymmetric':
      return op.Div(at, scale)
    case 'align_corners':
      // A single element lies at 0: its own index is 0.
      return op.Div(op.Mul(at, lastInput), steps)
    case 'tf_half_pixel_for_nn':
      return middles
    case 'pytorch_half_pixel':
      return op.Where(op.Greater(outputLength, 1), op.Sub(middles, 0.5), float(0))
    case 'half_pixel_symmetric': {
      // Sampled around the middle of the input where scale * length is not whole. The order of the terms and the doubles are
      // onnxruntime's: otherwise it rounds otherwise where a coordinate is whole.
      const adjustment = op.Div(outputLength, op.Mul(scale, inputLength))
      const offset = op.Mul(op.Div(inputLength, 2), op.Sub(1, adjustment))
      return narrow(op.Sub(op.Add(wide(offset), op.Div(op.Add(wide(at), 0.5), wide(scale))), 0.5))
    }
    default:
      return op.Sub(middles, 0.5)
  }
}
