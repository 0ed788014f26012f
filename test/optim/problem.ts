import type { FloatArray } from '../../src/ir/float-array.js'
import type { ParameterArrays } from '../../src/optim/arrays.js'
import type { ParameterSettings } from '../../src/optim/parameter-settings.js'
import { learningRateFactor } from '../../src/optim/schedule.js'

/** Lengths of the tensors; an empty one and a scalar among them. */
const lengths: Readonly<Record<string, number>> = { weight: 19, bias: 4, nothing: 0, scale: 1, embedding: 12 }
const total = Object.values(lengths).reduce((a, b) => a + b, 0)

const wave = (i: number, a: number, b: number) => Math.sin(a * i + b)
const each = (f: (i: number) => number) => Array.from({ length: total }, (_, i) => f(i))
const steepness = each((i) => Math.exp(2 * wave(i, 1.7, 0.3)))
const target = each((i) => 1.5 * wave(i, 2.3, 1.1))
const coupling = each((i) => wave(i, 0.9, 2))

/** The initial values as one flat list. */
export const start = each((i) => 2 * wave(i, 3.1, 0.7))

/** L = sum_i c_i ln cosh(x_i - t_i) + (a . x)^2 / 20 + sum_i x_i^4 / 80: not quadratic, all coordinates coupled. */
export const gradientOf = (x: readonly number[]): number[] => {
  const dot = x.reduce((sum, xi, i) => sum + coupling[i]! * xi, 0)
  return x.map((xi, i) => steepness[i]! * Math.tanh(xi - target[i]!) + (coupling[i]! * dot) / 10 + xi ** 3 / 20)
}

/** Substitute for the sampled gradient: depends on x, and is exactly 0 in the embedding rows that no token uses. */
export const curvatureOf = (x: readonly number[]): number[] =>
  x.map((xi, i) => (i >= total - 3 ? 0 : steepness[i]! * (1.1 + Math.cos((1 + (i % 5)) * xi))))

/** Substitute for v * Hv: both signs, with exact zeros. */
export const hessianOf = (x: readonly number[]): number[] =>
  curvatureOf(x).map((h, i) => h * (Math.cos(3 * x[i]!) - 0.3))

/** The name of the tensor that element `i` of the flat list belongs to. */
export function nameOf(i: number): string {
  const names = Object.entries(lengths).flatMap(([name, length]) => Array<string>(length).fill(name))
  return names[i]!
}

/** Cuts a flat list into the tensors. */
export function split(flat: readonly number[], type: Float32ArrayConstructor | Float64ArrayConstructor) {
  const arrays: Record<string, FloatArray> = {}
  let from = 0
  for (const [name, length] of Object.entries(lengths)) {
    arrays[name] = type.from(flat.slice(from, from + length))
    from += length
  }
  return arrays
}

/** The inverse of `split`. */
export const flatten = (arrays: ParameterArrays): number[] => Object.keys(lengths).flatMap((name) => [...arrays[name]!])

/** Settings of some tensors of the problem. */
export const settings: Readonly<Record<string, ParameterSettings>> = {
  weight: { lrScale: 0.5, weightDecay: 0.2 },
  bias: { weightDecay: 0, enhanced: false },
  scale: { startStep: 9, lrScale: 3 },
  embedding: { startStep: 7 },
}

/** The factor of the learning rate at each of some steps. */
export const lrFactorOf =
  (steps: number) =>
  (t: number): number =>
    learningRateFactor({ kind: 'cosine', warmup: 4, floor: 0.1 }, t, steps)
