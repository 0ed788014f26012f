import { scalar } from '../../../ir/leaf.js'
import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/index.js'

/** One resized axis at run time: float32 scalars, as onnxruntime computes with. */
export interface ResizedAxis {
  readonly scale: Value
  readonly inputLength: Value
  readonly outputLength: Value
}

const float = (value: number) => scalar('float32', value)

/** 0, 1, ... n - 1 as float32. */
export const counting = (n: Value): Value => op.Range(float(0), n, float(1))

/** Where the elements of the output lie on the input axis: float32 [output length]. */
export function coordinatesOf(mode: string, { scale, inputLength, outputLength }: ResizedAxis): Value {
  const at = counting(outputLength)
  const middles = op.Div(op.Add(at, 0.5), scale)
  switch (mode) {
    case 'asymmetric':
      return op.Div(at, scale)
    case 'align_corners':
      // A single element lies at 0: its own index is 0.
      return op.Div(op.Mul(at, op.Sub(inputLength, 1)), op.Max([op.Sub(outputLength, 1), float(1)]))
    case 'pytorch_half_pixel':
      return op.Where(op.Greater(outputLength, 1), op.Sub(middles, 0.5), float(0))
    case 'half_pixel_symmetric': {
      // Sampled around the middle of the input where scale * length is not whole. The order of the terms is onnxruntime's:
      // another rounds otherwise where a coordinate is whole.
      const adjustment = op.Div(outputLength, op.Mul(scale, inputLength))
      return op.Sub(op.Add(op.Mul(op.Div(inputLength, 2), op.Sub(1, adjustment)), middles), 0.5)
    }
    default:
      return op.Sub(middles, 0.5)
  }
}
