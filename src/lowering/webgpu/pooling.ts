import { productOf } from '../../ir/shape.js'
import { sizeOf } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { poolingExpansions } from '../../op/compose/pooling.js'
import type { pooling } from '../../op/definitions/pooling.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'
import { largestPlaces } from './places.js'

/** From so many elements on several threads share a sum. */
const LARGE_PLANE = 256

export const poolingLowerings = {
  MaxPool: ([x], attributes, { wants }) => {
    // How places are counted does not matter where nobody asks for them, but to onnxruntime.
    if (!wants(1)) return attributes.storage_order === 0 ? null : op.MaxPool(x, { ...attributes, storage_order: 0 })
    const [y] = op.MaxPool(x, { ...attributes, storage_order: 0 })
    return [y, largestPlaces(x, y, attributes)]
  },
  // The mean of the powers over a window whose padding counts, times its size, is their sum.
  LpPool: ([x], { p, ceil_mode, ...window }) => {
    if (ceil_mode) return null
    const powers = op.AveragePool(raised(op.Abs(x), p), { ...window, count_include_pad: 1 })
    const sums = op.Mul(powers, sizeOf(window.kernel_shape))
    return p === 1 ? sums : p === 2 ? op.Sqrt(sums) : op.Pow(sums, 1 / p)
  },
  GlobalLpPool: poolingExpansions.GlobalLpPool,
  // Its kernel has one thread for each result, which adds up a whole plane.
  GlobalAveragePool: (inputs) => {
    const size = productOf(inputs[0].shape?.slice(2) ?? [])
    return typeof size === 'number' && size >= LARGE_PLANE ? poolingExpansions.GlobalAveragePool(inputs) : null
  },
} satisfies Lowerings<typeof pooling>

const raised = (x: Value, p: number): Value => (p === 1 ? x : p === 2 ? op.Mul(x, x) : op.Pow(x, p))

export const olderPools = {
  GlobalAveragePool: poolingExpansions.GlobalAveragePool,
  GlobalMaxPool: poolingExpansions.GlobalMaxPool,
} satisfies Lowerings<typeof pooling>
