import { dtypeOf } from '../../ir/dtype.js'
import { scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { knownNumbers } from '../../op/contents.js'
import type { generation } from '../../op/definitions/generation.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'
import { cast } from './through.js'

const filled = (x: Value, element: Value): Value => op.Expand(element, op.Shape(x))

export const generationLowerings = {
  // Outside of training it lets everything through.
  Dropout: ([x, , training]) =>
    training && knownNumbers(training)?.[0] !== 0 ? null : [x, cast(filled(x, scalar('int32', 1)), 'bool')],
  // What lies on or above the diagonal, less what lies above it.
  EyeLike: ([x], { dtype, k }) => {
    const ones = filled(x, scalar('float32', 1))
    const from = (diagonal: number) => op.Trilu(ones, scalar('int64', diagonal), { upper: 1 })
    return cast(op.Sub(from(k), from(k + 1)), dtypeOf(dtype ?? 0) ?? x.dtype)
  },
} satisfies Lowerings<typeof generation>
