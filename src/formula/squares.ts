import type { FloatArray } from '../ir/float-array.js'

/**
 * The sum of the squares of the first `n` elements, in double precision: element i goes to the partial sum i mod 4, as
 * with vectors of four, for one sum alone would wait for the latency of every addition.
 */
export function sumOfSquares(x: FloatArray, n: number): number {
  let [a, b, c, d] = [0, 0, 0, 0]
  const whole = n - (n % 4)
  for (let i = 0; i < whole; i += 4) {
    a += x[i]! * x[i]!
    b += x[i + 1]! * x[i + 1]!
    c += x[i + 2]! * x[i + 2]!
    d += x[i + 3]! * x[i + 3]!
  }
  if (whole < n) a += x[whole]! * x[whole]!
  if (whole + 1 < n) b += x[whole + 1]! * x[whole + 1]!
  if (whole + 2 < n) c += x[whole + 2]! * x[whole + 2]!
  return a + c + (b + d)
}
