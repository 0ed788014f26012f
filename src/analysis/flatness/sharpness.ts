import { checkNumber, count, nonNegative } from '../../util/check.js'
import type { Random } from '../../util/random.js'
import type { LossSurface, ProgressCallback } from './surface.js'
import { computeMeanEstimate, type MeanEstimate } from './trace.js'
import { addScaledCopy, norm, type ParameterVector } from './vector.js'

/** Options of `sharpness`. */
export interface SharpnessOptions {
  /** Norm of the displacements. Default 0.05. */
  readonly rho?: number
  /** Number of random directions for `average`; 0 omits it. Default 10. */
  readonly directions?: number
}

/** The increase of the loss within a ball of radius rho around the weights. */
export interface Sharpness {
  readonly rho: number
  /** The loss at the center. */
  readonly loss: number
  readonly gradientNorm: number
  /** L(theta + rho g / ||g||) - L(theta). */
  readonly ascent: number
  /** The mean over random unit vectors u of L(theta + rho u) - L(theta); absent without directions. */
  readonly average?: MeanEstimate
}

/**
 * The increase of the loss within radius rho. `ascent` is the increase along the gradient, to first order the maximum
 * in the ball (SAM's sharpness, Foret et al. 2021, arXiv 2010.01412, with the gradient of the whole data set):
 *
 *     L(theta + rho g / ||g||) - L(theta)
 *
 * `average` is the mean over random unit vectors. u and -u are evaluated in pairs, which cancels the first-order term
 * and leaves about rho^2 tr H / (2 size).
 * @throws OnnxIreError `invalid-option`, `not-finite`
 */
export async function sharpness(
  surface: LossSurface,
  random: Random,
  { rho = 0.05, directions = 10 }: SharpnessOptions = {},
  onBatch?: ProgressCallback,
): Promise<Sharpness> {
  checkNumber('sharpness', 'rho', rho, nonNegative)
  checkNumber('sharpness', 'directions', directions, count)
  const theta = surface.here()
  const { loss, g } = await surface.gradient(theta, onBatch)
  const length = norm(g)
  const rise = async (u: ParameterVector, factor: number) =>
    (await surface.loss(addScaledCopy(theta, factor, u), onBatch)) - loss
  const ascent = length === 0 ? 0 : await rise(g, rho / length)
  const samples: number[] = []
  for (let i = 0; i < directions; i++) {
    const u = random.fill(new Float64Array(surface.size), 'normal')
    const factor = rho / norm(u)
    samples.push(((await rise(u, factor)) + (await rise(u, -factor))) / 2)
  }
  return {
    rho,
    loss,
    gradientNorm: length,
    ascent,
    ...(directions === 0 ? {} : { average: computeMeanEstimate(samples) }),
  }
}
