import { op } from '../op/op.js'
import type { Loss } from './loss.js'
import { type RegressionOptions, regression } from './regression.js'

export interface L1Options extends RegressionOptions {}

/**
 * Mean absolute error over all elements, |e| of e = y - t, in the targets' unit; its slope at 0 is 0. As PyTorch's L1Loss
 * (https://docs.pytorch.org/docs/stable/generated/torch.nn.L1Loss.html).
 *
 * The likelihood it implies, exp(-|e|) / 2, is a Laplace distribution around the output. Only the sign of a draw decides
 * the slope, so signs are drawn. When built, throws `invalid-option`.
 */
export const l1 = (options: L1Options = {}): Loss =>
  regression({ name: 'l1', of: (e) => op.Abs(e), distribution: 'sign', slope: (noise) => noise }, options)
