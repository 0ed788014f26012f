import { scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { gradientType } from './active.js'

/** Zeros with the shape of `x` and the type of its gradient. */
export const zerosLike = (x: Value): Value => op.Expand(scalar(gradientType(x.dtype), 0), op.Shape(x))
