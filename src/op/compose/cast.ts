import { type DType, dtypes } from '../../ir/dtype.js'
import type { Value } from '../../ir/value.js'
import { op } from '../op.js'

/** Casts to a type, unless `x` has it. */
export const cast = (x: Value, to: DType): Value => (x.dtype === to ? x : op.Cast(x, { to: dtypes[to].onnx }))
