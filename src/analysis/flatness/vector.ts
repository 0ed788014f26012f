/** Vectors over all parameters at once, in double precision whatever the parameters are. */
export type Vector = Float64Array

export function dot(a: Vector, b: Vector): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

export const norm = (a: Vector): number => Math.sqrt(dot(a, a))

/** y <- y + factor x, in place. */
export function addScaled(y: Vector, factor: number, x: ArrayLike<number>): void {
  for (let i = 0; i < y.length; i++) y[i]! += factor * x[i]!
}

export const scaled = (factor: number, x: Vector): Vector => x.map((value) => factor * value)

/** y + factor x, a new vector. */
export function displaced(y: Vector, factor: number, x: Vector): Vector {
  const sum = y.slice()
  addScaled(sum, factor, x)
  return sum
}
