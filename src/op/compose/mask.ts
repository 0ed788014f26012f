import { dtypes } from '../../ir/dtype.js'
import type { Value } from '../../ir/value.js'
import { op } from '../op.js'

/** 1 where `mask` holds, else 0, in the type of `like`. */
export const indicator = (mask: Value, like: Value): Value => op.Cast(mask, { to: dtypes[like.dtype].onnx })

/**
 * `dy` where `mask` holds, else 0. For masks as large as `dy` a product takes onnxruntime's CPU provider 0.7 to 0.8 times
 * as long as Where.
 */
export const masked = (dy: Value, mask: Value): Value => op.Mul(dy, indicator(mask, dy))
