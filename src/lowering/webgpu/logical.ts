import { isFloat } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import type { logical } from '../../op/definitions/elementwise.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'
import { cast } from './through.js'

const largest = (x: Value): number => (x.dtype === 'float16' ? 65504 : 3.4028234663852886e38)

/** Types whose comparisons have kernels. */
const compared = (x: Value): boolean => isFloat(x.dtype) || x.dtype === 'int32' || x.dtype === 'uint32'
const equal = (a: Value, b: Value): Value => op.Equal(cast(a, 'int32'), cast(b, 'int32'))

export const logicalLowerings = {
  Equal: ([a, b]) => (compared(a) ? null : equal(a, b)),
  Or: ([a, b]) => op.Not(op.And(op.Not(a), op.Not(b))),
  Xor: ([a, b]) => op.Not(equal(a, b)),
  // Only what is not a number differs from itself.
  IsNaN: ([x]) => op.Not(op.Equal(x, x)),
  IsInf: ([x], { detect_negative, detect_positive }) => {
    const above = op.Greater(x, scalar(x.dtype, largest(x)))
    const below = op.Less(x, scalar(x.dtype, -largest(x)))
    if (detect_positive && detect_negative) return op.Greater(op.Abs(x), scalar(x.dtype, largest(x)))
    return detect_positive ? above : detect_negative ? below : op.And(above, below)
  },
} satisfies Lowerings<typeof logical>
