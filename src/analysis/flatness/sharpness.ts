import { checkNumber, count, nonNegative } from '../../util/check.js'
import type { Random } from '../../util/random.js'
import { type Estimate, estimateOf } from './estimate.js'
import type { LossSurface, Watch } from './surface.js'
import { displaced, norm, type Vector } from './vector.js'

/** The ball that sharpness looks at. */
export interface SharpnessOptions {
  /** The length of the displacements. Default 0.05. */
  readonly rho?: number
  /** Random directions for the average; 0 leaves it out. Default 10. */
  readonly directions?: number
}

/** How far the loss rises within a ball around the weights. */
export interface Sharpness {
  readonly rho: number
  /** At the centre. */
  readonly loss: number
  readonly gradientNorm: number
  /** L(theta + rho g / ||g||) - L(theta). */
  readonly ascent: number
  /** The mean over random unit vectors u of L(theta + rho u) - L(theta); absent without directions. */
  readonly average?: Estimate
}

/**
 * How much the loss rises within rho: along the gradient, which to first order is the most there is in the ball (SAM's
 * sharpness, Foret et al. 2021, arXiv 2010.01412, with the gradient of the whole data set), and on average over
 * directions, where u and -u are taken together, so that what is left is about rho^2 tr H / 2 size.
 * @throws 'invalid-option', 'not-finite'
 */
export async function sharpness(
  surface: LossSurface,
  random: Random,
  { rho = 0.05, directions = 10 }: SharpnessOptions = {},
  watch?: Watch,
): Promise<Sharpness> {
  checkNumber('sharpness', 'rho', rho, nonNegative)
  checkNumber('sharpness', 'directions', directions, count)
  const theta = surface.here()
  const { loss, g } = await surface.gradient(theta, watch)
  const length = norm(g)
  const rise = async (u: Vector, factor: number) => (await surface.loss(displaced(theta, factor, u), watch)) - loss
  const ascent = length === 0 ? 0 : await rise(g, rho / length)
  const draws: number[] = []
  for (let i = 0; i < directions; i++) {
    const u = random.fill(new Float64Array(surface.size), 'normal')
    const factor = rho / norm(u)
    draws.push(((await rise(u, factor)) + (await rise(u, -factor))) / 2)
  }
  return { rho, loss, gradientNorm: length, ascent, ...(directions === 0 ? {} : { average: estimateOf(draws) }) }
}
