import type { Expr } from './expr/expr.js'

/**
 * average <- beta average + (1 - beta) value, written average + (1 - beta) (value - average): float32 keeps the digits
 * of 1 - beta, but not those of a beta near 1.
 */
export const movingAverage = (average: Expr, value: Expr, oneMinusBeta: Expr): Expr =>
  average.add(value.sub(average).mul(oneMinusBeta))

/**
 * average <- beta average + (1 - beta) value^2. The square is multiplied factor by factor, so that it overflows no
 * earlier than the average itself.
 */
export const movingSquare = (average: Expr, value: Expr, oneMinusBeta: Expr): Expr =>
  average.sub(average.mul(oneMinusBeta)).add(value.mul(oneMinusBeta).mul(value))
