import { op } from '../op/op.js'
import type { Loss } from './loss.js'
import { type RegressionOptions, regression } from './regression.js'

export interface MseOptions extends RegressionOptions {}

/**
 * Mean squared error over all elements, e^2 of e = y - t, in the targets' unit squared.
 *
 * The likelihood it implies, exp(-e^2) up to a factor, is a normal distribution around the output; targets are sampled as
 * the output plus normal noise of variance 1/2, so that IRE's curvature is the Gauss-Newton diagonal, 2 (dy)^2.
 * When built, throws `invalid-option`.
 */
export const mse = (options: MseOptions = {}): Loss =>
  regression(
    {
      name: 'mse',
      of: (e) => op.Mul(e, e),
      distribution: 'normal',
      slope: (noise) => op.Mul(noise, Math.SQRT2), // 2 e at e = noise / sqrt 2
    },
    options,
  )
