import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { negativeLogLikelihood, sampleLabels, weighLabels } from './class-scores.js'
import { normalize } from './embeddings.js'
import { findLastArgument, findOutput, type Loss, skipIdentity, toFullPrecision } from './loss.js'
import { checkLossNames, type LossWeightOptions, weightedMean } from './sample-weights.js'

/** Options of `arcFace`. */
export interface ArcFaceOptions extends LossWeightOptions {
  /** Output of the model that holds the logits of a last layer Gemm or MatMul. Default: the only output. */
  readonly logits?: string
  /** Name of the data's labels: int64 [N]. Default 'labels'. */
  readonly labels?: string
  /** Angle in radians, in [0, pi / 2), that is added to the angle of the true class. Default 0.5. */
  readonly margin?: number
  /** Factor > 0 of the cosines. Default 64. */
  readonly scale?: number
}

/**
 * ArcFace loss (Deng et al. 2019, arXiv 1801.07698) for embeddings of identities. The last layer of the model gives the
 * features x and a weight w[c] per class; its bias is not used. With theta[c] the angle between x and w[c]:
 *
 *     l = cross-entropy of scale cos(theta[c] + margin [c = y])
 *
 * where theta[y] + margin > pi, cos(theta[y]) - margin sin(margin) takes its place, so that the loss grows with the
 * angle. Metrics use the cosines without margin. `head: { classes }` of the trainer replaces the last layer by one of
 * as many identities. IRE samples labels as in `crossEntropy`.
 *
 * @throws OnnxIreError `invalid-option`, when built onto a model also if its last layer is no product with a weight
 */
export function arcFace(options: ArcFaceOptions = {}): Loss {
  checkLossNames('arcFace', options, ['logits', 'labels', 'margin', 'scale'])
  const { margin = 0.5, scale = 64, labels: name = 'labels' } = options
  if (!(margin >= 0 && margin < Math.PI / 2))
    throw invalidOption('arcFace', 'margin', margin, 'a number in [0, pi / 2)')
  if (!(scale > 0 && Number.isFinite(scale))) throw invalidOption('arcFace', 'scale', scale, 'a number > 0')
  return {
    name: 'arc-face',
    build(outputs) {
      const { features, weights } = findLastLayer(findOutput(outputs, options.logits, 'arcFace'))
      const cos = op.MatMul(normalize(features), op.Transpose(normalize(weights), { perm: [1, 0] }))
      const toScores = (z: Value) => ({ logits: z, z, logP: op.LogSoftmax(z, { axis: 1 }), axis: 1, shape: cos.shape! })
      const plain = toScores(op.Mul(cos, scale))
      const { labels, all, graph, comparison } = weighLabels(plain, name, options, 'arcFace')
      // cos(theta + m) = cos theta cos m - sin theta sin m
      const sin = op.Sqrt(op.Clip(op.Sub(1, op.Mul(cos, cos)), 1e-9, 1))
      const moved = op.Sub(op.Mul(cos, Math.cos(margin)), op.Mul(sin, Math.sin(margin)))
      const isWithin = op.Greater(cos, -Math.cos(margin))
      const shifted = op.Where(isWithin, moved, op.Sub(cos, margin * Math.sin(margin)))
      const classes = op.Unsqueeze(labels, [1])
      const target = op.GatherElements(shifted, classes, { axis: 1 })
      const z = op.Mul(op.ScatterElements(cos, classes, target, { axis: 1 }), scale)
      return {
        ...graph,
        loss: weightedMean(negativeLogLikelihood(toScores(z), labels), all),
        predictions: new Map([['', comparison]]),
        sampled: sampleLabels(plain, name, all),
      }
    },
  }
}

/** Features [N, D] and weights [C, D] of the layer that computes an output. */
function findLastLayer(output: Value): { readonly features: Value; readonly weights: Value } {
  const last = skipIdentity(findLastArgument(output, ['Softmax'])?.argument ?? output)
  // The bias of a MatMul.
  const product = [last, ...(last.source.kind === 'node' && last.source.operator === 'Add' ? last.source.inputs : [])]
    .map((value) => value!.source)
    .find((node) => node.kind === 'node' && (node.operator === 'Gemm' || node.operator === 'MatMul'))
  const [x, w] = product?.kind === 'node' ? product.inputs : []
  if (product?.kind !== 'node' || x?.shape?.length !== 2 || w?.shape?.length !== 2 || product.attributes['transA'])
    throw new OnnxIreError(
      'invalid-option',
      "arcFace: the output is not computed by a last layer Gemm or MatMul of features [N, D] and a weight: add one with option 'head' of the trainer, or name another output with 'logits'",
    )
  const isRows = product.operator === 'Gemm' && Boolean(product.attributes['transB'])
  const weights = isRows ? w : op.Transpose(w, { perm: [1, 0] })
  return { features: toFullPrecision(x), weights: toFullPrecision(weights) }
}
