import { checkNumber, invalidOption, positiveCount } from '../../util/check.js'
import type { Random } from '../../util/random.js'
import type { FilterAxes } from './filters.js'
import type { Layout, Place } from './layout.js'
import type { LossSurface, Watch } from './surface.js'
import { displaced, type Vector } from './vector.js'

/** The grid of a landscape. */
export interface LandscapeOptions {
  /** Points along each axis; an odd number has the centre among them. Default 21. */
  readonly points?: number
  /** From -range to range. Default 1: a filter is displaced by its own length. */
  readonly range?: number
}

/** L(theta + a d + b e) on a grid. */
export interface Landscape {
  /** a, and b. */
  readonly axis: readonly number[]
  /** Rows of equal b, from -range on; in a row a rises. It may hold infinity or no number far away. */
  readonly losses: readonly (readonly number[])[]
}

/**
 * The loss over a plane through theta along two random directions, normalised filter by filter (Li et al. 2018,
 * arXiv 1712.09913): what it shows does not depend on how layers are scaled against each other.
 * @throws 'invalid-option'
 */
export async function lossLandscape(
  surface: LossSurface,
  random: Random,
  { points = 21, range = 1 }: LandscapeOptions = {},
  watch?: Watch,
): Promise<Landscape> {
  checkNumber('landscape', 'points', points, positiveCount)
  if (points < 2) throw invalidOption('landscape', 'points', points, 'an integer > 1')
  if (!(range > 0 && Number.isFinite(range))) throw invalidOption('landscape', 'range', range, 'a number > 0')
  const theta = surface.here()
  const d = filterNormalised(surface.layout, surface.filters, theta, random)
  const e = filterNormalised(surface.layout, surface.filters, theta, random)
  const axis = Array.from({ length: points }, (_, i) => range * ((2 * i) / (points - 1) - 1))
  const losses: number[][] = []
  for (const b of axis) {
    const row: number[] = []
    const along = displaced(theta, b, e)
    for (const a of axis) row.push(await surface.loss(displaced(along, a, d), watch))
    losses.push(row)
  }
  return { axis, losses }
}

/**
 * A Gaussian direction d with every filter as long as theta's: d_f <- d_f ||theta_f|| / ||d_f||. Vectors (biases, scales and
 * shifts of norms) are not moved, as in the paper.
 */
export function filterNormalised(layout: Layout, filters: FilterAxes, theta: Vector, random: Random): Vector {
  const d = new Float64Array(layout.size)
  for (const place of layout.places) {
    const axes = filters.get(place.name)!
    if (axes.length === 0) continue
    const { from, length } = place
    const part = random.fill(d.subarray(from, from + length), 'normal')
    normalise(part, theta.subarray(from, from + length), place, axes)
  }
  return d
}

function normalise(d: Vector, theta: Vector, { dims }: Place, axes: readonly number[]): void {
  const group = groupsOf(dims, axes)
  const filters = axes.reduce((product, axis) => product * dims[axis]!, 1)
  const [drawn, own] = [new Float64Array(filters), new Float64Array(filters)]
  for (let i = 0; i < d.length; i++) {
    drawn[group(i)]! += d[i]! ** 2
    own[group(i)]! += theta[i]! ** 2
  }
  const factors = own.map((square, f) => Math.sqrt(square / drawn[f]!))
  for (let i = 0; i < d.length; i++) d[i]! *= factors[group(i)]!
}

/** The number of the filter that an element belongs to. */
function groupsOf(dims: readonly number[], axes: readonly number[]): (element: number) => number {
  const counted = axes.map((axis) => ({
    length: dims[axis]!,
    stride: dims.slice(axis + 1).reduce((product, dim) => product * dim, 1),
  }))
  return (element) =>
    counted.reduce((number, { length, stride }) => number * length + (Math.floor(element / stride) % length), 0)
}
