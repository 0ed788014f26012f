import { scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/index.js'

/** Zeros of the shape and type of `x`. */
export const zerosLike = (x: Value): Value => op.Expand(scalar(x.dtype, 0), op.Shape(x))
