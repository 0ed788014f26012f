import { scoresOf } from './categorical.js'
import type { Loss } from './loss.js'
import { softLabels } from './soft-labels.js'
import type { WeightOptions } from './weights.js'

export interface KlOptions extends WeightOptions {
  /** The output that holds the logits. A trailing Softmax or LogSoftmax there is recognised and bypassed. Default: the only output. */
  readonly logits?: string
  /** The name under which the data gives the target probabilities: floats of the logits' shape. Default 'targets'. */
  readonly targets?: string
  /** The axis of the classes. Default: that of the bypassed Softmax, else the last. */
  readonly axis?: number
}

/**
 * The Kullback-Leibler divergence KL(t || softmax(z)) = sum_c t[c] (log t[c] - log p[c]) in nats, averaged over examples or
 * positions: for [N, C] PyTorch's KLDivLoss with reduction 'batchmean'
 * (https://docs.pytorch.org/docs/stable/generated/torch.nn.KLDivLoss.html), for [N, T, C] that of all N T positions.
 * Its gradient is that of the cross-entropy against t, and its labels are sampled in the same way.
 *
 * When built, throws `invalid-option` and `invalid-shape`.
 */
export function kl(options: KlOptions = {}): Loss {
  const { targets = 'targets' } = options
  return {
    name: 'kl',
    build: (outputs) =>
      softLabels(
        scoresOf(outputs, options.logits, options.axis, 'kl'),
        targets,
        { ...options, divergence: true },
        'kl',
      ),
  }
}
