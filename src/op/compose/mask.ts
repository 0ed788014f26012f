import { dtypes } from '../../ir/dtype.js'
import type { Value } from '../../ir/value.js'
import { op } from '../op.js'

/** 1 where `mask` is true, else 0, in the type of `like`. */
export const indicator = (mask: Value, like: Value): Value => op.Cast(mask, { to: dtypes[like.dtype].onnx })

/**
 * `dy` where `mask` is true, else 0. A product takes onnxruntime's CPU provider 0.7 to 0.8 times as long as Where, for
 * masks as large as `dy`.
 */
export const applyMask = (dy: Value, mask: Value): Value => op.Mul(dy, indicator(mask, dy))
