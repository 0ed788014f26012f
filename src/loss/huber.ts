import { op } from '../op/op.js'
import { invalidOption } from '../util/check.js'
import type { Loss } from './loss.js'
import { type RegressionOptions, regression } from './regression.js'

export interface HuberOptions extends RegressionOptions {
  /** The size of an error, in the targets' unit, beyond which it counts linearly; > 0. Default 1. */
  readonly delta?: number
}

/**
 * Huber loss averaged over all elements: e^2 / 2 of e = y - t where |e| <= delta, else delta (|e| - delta / 2). As PyTorch's
 * HuberLoss (https://docs.pytorch.org/docs/stable/generated/torch.nn.HuberLoss.html).
 *
 * The likelihood it implies, exp(-loss) up to a factor, is normal in the middle with exponential tails; targets are sampled
 * from exactly that (`Random.huber`). Throws `invalid-option`.
 */
export function huber(options: HuberOptions = {}): Loss {
  const { delta = 1 } = options
  if (!(delta > 0 && Number.isFinite(delta))) throw invalidOption('huber', 'delta', delta, 'a number > 0')
  return regression(
    {
      name: 'huber',
      // With c = e clipped to [-delta, delta] both branches are c (e - c / 2), and the slope is c.
      of: (e) => {
        const c = op.Clip(e, -delta, delta)
        return op.Mul(c, op.Sub(e, op.Mul(c, 0.5)))
      },
      distribution: { huber: delta },
      slope: (noise) => op.Clip(noise, -delta, delta),
    },
    options,
  )
}
