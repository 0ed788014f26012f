import { type DType, dtypeOf } from '../../ir/dtype.js'
import { expandToBlocks, rangeOf } from '../../op/compose/quantization.js'
import type { quantization } from '../../op/definitions/quantization.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'
import { cast } from './via-float32.js'

/** Types to which WebGPU casts a number. */
const castable: ReadonlySet<DType> = new Set(['uint8', 'int8'])

export const quantizationLowerings = {
  // saturate(round(x / scale) + zero point)
  QuantizeLinear: ([x, scale, zeroPoint], attributes) => {
    const dtype = zeroPoint?.dtype ?? dtypeOf(attributes.output_dtype) ?? 'uint8'
    if (!castable.has(dtype)) return null
    const [low, high] = rangeOf(dtype)
    const steps = op.Round(op.Div(cast(x, 'float32'), cast(expandToBlocks(scale, x, attributes), 'float32')))
    const shifted = zeroPoint ? op.Add(steps, expandToBlocks(cast(zeroPoint, 'float32'), x, attributes)) : steps
    return cast(op.Clip(shifted, low, high), dtype)
  },
} satisfies Lowerings<typeof quantization>
