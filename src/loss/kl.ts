import { findClassScores } from './class-scores.js'
import { buildSoftLabelLoss } from './cross-entropy.js'
import type { Loss } from './loss.js'
import { checkLossNames, type LossWeightOptions } from './sample-weights.js'

/** Options of `kl`. */
export interface KlOptions extends LossWeightOptions {
  /**
   * Output of the model that holds the logits. A trailing Softmax or LogSoftmax is recognized and bypassed. Default:
   * the only output.
   */
  readonly logits?: string
  /** Name of the data's target probabilities: floats of the logits' shape. Default 'targets'. */
  readonly targets?: string
  /** Axis of the classes. Default: the axis of the bypassed Softmax, else the last. */
  readonly axis?: number
}

/**
 * Kullback-Leibler divergence from logits z to target probabilities t, in nats, averaged over examples or positions:
 *
 *     l = KL(t || p) = sum_c t[c] (log t[c] - log p[c]),   p = softmax(z)
 *
 * For [N, C] this is PyTorch's KLDivLoss with reduction 'batchmean'
 * (https://docs.pytorch.org/docs/stable/generated/torch.nn.KLDivLoss.html); for [N, T, C] the mean over all N T
 * positions. Its gradient equals the gradient of the cross-entropy against t; IRE samples labels in the same way.
 *
 * @throws OnnxIreError `invalid-option` and `invalid-shape` when built onto a model
 * @example
 * ```ts
 * kl({ logits: 'logits', targets: 'teacher_probabilities' }) // distillation
 * ```
 */
export function kl(options: KlOptions = {}): Loss {
  checkLossNames('kl', options, ['logits', 'targets', 'axis'])
  const { targets = 'targets' } = options
  return {
    name: 'kl',
    build: (outputs) =>
      buildSoftLabelLoss(
        findClassScores(outputs, options.logits, options.axis, 'kl'),
        targets,
        { ...options, divergence: true },
        'kl',
      ),
  }
}
