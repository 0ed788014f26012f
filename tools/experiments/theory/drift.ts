import type { Optimizer } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { initialState } from 'onnx-ire/optim'
import { type Point, step } from '../step.js'
import type { Problem } from './problem.js'

interface DriftOptions {
  readonly optimizer: Optimizer
  readonly seed: number
  /** Steps before measuring, until the oscillation across the manifold is steady. */
  readonly settling: number
  /** Largest number of measured steps; even, since the oscillation of SAM has period 2. */
  readonly steps: number
  /** Measuring ends when the sharpness has fallen by this fraction. */
  readonly enough?: number
  /** Length of a random perturbation of the point of every gradient: average SAM. */
  readonly noise?: number
  /** Transforms the displacement of each step after settling, in place of a mask. */
  readonly enhance?: (at: Point, displacement: Point) => void
}

export interface Drift {
  /** -d ln(sharpness) / dt per step; null if the run left the manifold or moved to sharper minima. */
  readonly rate: number | null
  /** State at the start of measuring. */
  readonly sharpness: number
}

/** Measures how fast an optimizer drifts towards flat minima. */
export function drift(problem: Problem, options: DriftOptions): Drift {
  const { optimizer, seed, settling, steps, enough = 0.01, noise = 0, enhance } = options
  const random = new Random(seed)
  const [perturbing, probing] = [random.stream('perturbation'), random.stream('probe')]
  const at = problem.start(random.stream('start'))
  const state = initialState(optimizer, at)
  const before = copied(at)
  const move = (enhanced: boolean) => {
    if (enhance) for (const name of Object.keys(at)) before[name]!.set(at[name]!)
    step(optimizer, at, state, ({ kind, parameters }) => {
      if (kind === 'curvature') return { gradients: problem.curvature(parameters, probing) }
      return { gradients: problem.gradient(noise > 0 ? perturbed(parameters as Point, noise, perturbing) : parameters) }
    })
    if (!enhance || !enhanced) return
    for (const [name, x] of Object.entries(at)) for (let i = 0; i < x.length; i++) x[i] = x[i]! - before[name]![i]!
    enhance(before, at)
    for (const [name, x] of Object.entries(at)) for (let i = 0; i < x.length; i++) x[i] = x[i]! + before[name]![i]!
  }
  for (let t = 0; t < settling; t++) move(false)
  const first = problem.sharpness(at)
  let last = first
  for (let t = 2; t <= steps; t += 2) {
    move(true)
    move(true)
    // The sharpness of a long run is computed at intervals only.
    if (t < steps && t % 20 !== 0 && t > 20) continue
    last = problem.sharpness(at)
    if (!(last > 0 && last < 2 * first)) break
    if (last < (1 - enough) * first) return { rate: Math.log(first / last) / t, sharpness: first }
  }
  const rate = Math.log(first / last) / steps
  return { rate: rate > 0 ? rate : null, sharpness: first }
}

const copied = (at: Point): Point => Object.fromEntries(Object.entries(at).map(([name, x]) => [name, x.slice()]))

/** Adds a vector of the given length with a direction uniform over the sphere to a point. */
function perturbed(at: Point, length: number, random: Random): Point {
  const moved = copied(at)
  let square = 0
  for (const x of Object.values(moved)) {
    random.fill(x, 'normal')
    for (const value of x) square += value * value
  }
  const scale = length / Math.sqrt(square)
  for (const [name, x] of Object.entries(moved)) for (let i = 0; i < x.length; i++) x[i] = at[name]![i]! + scale * x[i]!
  return moved
}
