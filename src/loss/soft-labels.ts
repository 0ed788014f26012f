import { input } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { alongClasses, perClassWeights, type Scores, sampledLabels } from './categorical.js'
import type { LossGraph } from './loss.js'
import { reported, targetInputs, type WeightOptions, weighed, weightedMean } from './weights.js'

export interface SoftLabelOptions extends WeightOptions {
  readonly labelSmoothing?: number
  readonly classWeights?: readonly number[]
  /** Adds sum_c t log t, the negative entropy of the targets: KL divergence instead of cross-entropy. */
  readonly divergence?: boolean
}

/**
 * Distributions t over the classes against softmax(z): -(1 - s) sum_c w[c] t[c] log p[c] - s mean_c w[c] log p[c], averaged.
 * For metrics the label is the class of the largest t, the first of equal ones.
 */
export function softLabels(scores: Scores, name: string, options: SoftLabelOptions, loss: string): LossGraph {
  const { labelSmoothing = 0, divergence = false } = options
  const { z, logP, axis, shape } = scores
  const given = input(name, z.dtype, shape)
  const labels = op.ArgMax(given, { axis, keepdims: 0 })
  const weighing = weighed(labels, z, options, loss)
  const { kept, weights, count, total } = weighing
  const t = kept ? op.Where(op.Unsqueeze(kept, [axis]), given, 0) : given
  const classWeights = perClassWeights(options.classWeights, scores, loss)
  const weighted = (x: Value) => (classWeights ? op.Mul(x, alongClasses(classWeights, scores)) : x)
  const overClasses = (x: Value) => op.ReduceSum(x, [axis], { keepdims: 0 })

  const logRatio = divergence ? op.Sub(logP, logOf(t)) : logP
  const certain = overClasses(weighted(op.Mul(t, logRatio)))
  const mixed =
    labelSmoothing === 0
      ? certain
      : op.Add(
          op.Mul(certain, 1 - labelSmoothing),
          op.Mul(op.ReduceMean(weighted(logP), [axis], { keepdims: 0 }), labelSmoothing),
        )
  // The Hessian by z of a target's loss is sum_c w[c] t[c] times that of log p of any one class.
  const ofTarget = classWeights && overClasses(weighted(t))
  const sampledWeights = ofTarget && weights ? op.Mul(ofTarget, weights) : (ofTarget ?? weights)
  return {
    loss: weightedMean(op.Neg(mixed), { weights, count, total }),
    targets: targetInputs(given, weighing, loss),
    ...reported(weighing),
    compared: new Map([['', { kind: 'classes', logits: z, axis, labels, kept }]]),
    sampled: sampledLabels(scores, name, { weights: sampledWeights, count, total }),
  }
}

/** log t, and 0 where t is 0: t log t is then 0 too. */
function logOf(t: Value): Value {
  const some = op.Greater(t, 0)
  return op.Log(op.Where(some, t, 1))
}
