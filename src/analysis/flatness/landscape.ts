import { checkNumber, invalidOption, positiveCount } from '../../util/check.js'
import type { Random } from '../../util/random.js'
import type { FilterAxes } from './filters.js'
import type { LossSurface, ProgressCallback } from './surface.js'
import { addScaledCopy, type ParameterLayout, type ParameterSlice, type ParameterVector } from './vector.js'

/** Options of `lossLandscape`. */
export interface LandscapeOptions {
  /** Points per axis; an odd number includes the center. Default 21. */
  readonly points?: number
  /** The axes range from -range to range. Default 1: a filter is displaced by its own norm. */
  readonly range?: number
}

/** L(theta + a d + b e) on a grid. */
export interface Landscape {
  /** Values of a and of b. */
  readonly axis: readonly number[]
  /** Rows of equal b, ascending; a ascends within a row. Losses far away may be infinite or NaN. */
  readonly losses: readonly (readonly number[])[]
}

/**
 * The loss L(theta + a d + b e) over a plane spanned by two random directions d and e, normalized per filter (Li et al.
 * 2018, arXiv 1712.09913), so that the picture does not depend on the relative scale of layers.
 * @throws OnnxIreError `invalid-option`
 */
export async function lossLandscape(
  surface: LossSurface,
  random: Random,
  { points = 21, range = 1 }: LandscapeOptions = {},
  onBatch?: ProgressCallback,
): Promise<Landscape> {
  checkNumber('landscape', 'points', points, positiveCount)
  if (points < 2) throw invalidOption('landscape', 'points', points, 'an integer > 1')
  if (!(range > 0 && Number.isFinite(range))) throw invalidOption('landscape', 'range', range, 'a number > 0')
  const theta = surface.here()
  const d = sampleFilterNormalized(surface.layout, surface.filters, theta, random)
  const e = sampleFilterNormalized(surface.layout, surface.filters, theta, random)
  const axis = Array.from({ length: points }, (_, i) => range * ((2 * i) / (points - 1) - 1))
  const losses: number[][] = []
  for (const b of axis) {
    const row: number[] = []
    const along = addScaledCopy(theta, b, e)
    for (const a of axis) row.push(await surface.loss(addScaledCopy(along, a, d), onBatch))
    losses.push(row)
  }
  return { axis, losses }
}

/**
 * A Gaussian direction d whose filters have the norm of theta's: d_f <- d_f ||theta_f|| / ||d_f||. It is 0 for vectors
 * (biases, scales and shifts of norms), as in the paper.
 */
export function sampleFilterNormalized(
  layout: ParameterLayout,
  filters: FilterAxes,
  theta: ParameterVector,
  random: Random,
): ParameterVector {
  const d = new Float64Array(layout.size)
  for (const place of layout.places) {
    const axes = filters.get(place.name)!
    if (axes.length === 0) continue
    const { from, length } = place
    const part = random.fill(d.subarray(from, from + length), 'normal')
    normalizeFilters(part, theta.subarray(from, from + length), place, axes)
  }
  return d
}

function normalizeFilters(
  d: ParameterVector,
  theta: ParameterVector,
  { dims }: ParameterSlice,
  axes: readonly number[],
): void {
  const group = filterIndex(dims, axes)
  const filters = axes.reduce((product, axis) => product * dims[axis]!, 1)
  const [drawn, own] = [new Float64Array(filters), new Float64Array(filters)]
  for (let i = 0; i < d.length; i++) {
    drawn[group(i)]! += d[i]! ** 2
    own[group(i)]! += theta[i]! ** 2
  }
  const factors = own.map((square, f) => Math.sqrt(square / drawn[f]!))
  for (let i = 0; i < d.length; i++) d[i]! *= factors[group(i)]!
}

/** Index of the filter of an element. */
function filterIndex(dims: readonly number[], axes: readonly number[]): (element: number) => number {
  const counted = axes.map((axis) => ({
    length: dims[axis]!,
    stride: dims.slice(axis + 1).reduce((product, dim) => product * dim, 1),
  }))
  return (element) =>
    counted.reduce((number, { length, stride }) => number * length + (Math.floor(element / stride) % length), 0)
}
