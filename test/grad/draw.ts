import type { DType } from '../../src/ir/dtype.js'
import type { Random } from '../../src/util/random.js'
import type { Operand } from './cases/case.js'

/** A feed or a result with its elements widened to doubles. */
export interface Array64 {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly data: Float64Array
}

/** The elements of an operand; those of the floating type under test, unless it has a type of its own. */
export function draw(operand: Operand, floating: DType, random: Random): Array64 {
  const dtype = operand.dtype ?? floating
  const length = operand.shape.reduce((a, b) => a * b, 1)
  const [low, high] = operand.range ?? [Number.NaN, Number.NaN]
  const one = () =>
    operand.range
      ? low + (high - low) * random.uniform()
      : (random.uniform() < 0.5 ? -1 : 1) * (0.3 + 1.2 * random.uniform())
  const order = random.permutation(length)
  const data = operand.values
    ? Float64Array.from(operand.values)
    : Float64Array.from({ length }, (_, i) => (operand.distinct ? 0.05 * (order[i]! - length / 2) + 0.013 : one()))
  if (data.length !== length) throw new Error(`operand [${operand.shape}] has ${data.length} values`)
  // Stored in the type under test, so that both sides of a comparison see the same numbers.
  return { dtype, dims: operand.shape, data: dtype === 'float32' ? Float64Array.from(Float32Array.from(data)) : data }
}

/** Widens elements to doubles. */
export const toFloat64 = (data: ArrayLike<number | bigint>): Float64Array =>
  typeof data[0] === 'bigint'
    ? Float64Array.from(data as ArrayLike<bigint>, Number)
    : Float64Array.from(data as ArrayLike<number>)
