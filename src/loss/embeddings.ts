import { dtypes, isFloat } from '../ir/dtype.js'
import { input, scalar } from '../ir/leaf.js'
import { formatShape, type Shape } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNames, checkNumber, invalidOption, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { negativeLogLikelihood, sampleLabels } from './class-scores.js'
import { type Loss, skipIdentity, toFullPrecision } from './loss.js'
import {
  checkLossNames,
  countAndWeight,
  type LossWeightOptions,
  sampledMean,
  targetInputs,
  weighTargets,
  weightedMean,
} from './sample-weights.js'

/** Options of every loss that compares embeddings of several passes. */
interface EmbeddingOptions {
  /**
   * Output of the model with the embedding, [N, D], in every pass (option `passes` of the trainer). Default: the only
   * output; without `passes` all outputs, such as those of a text and an image.
   */
  readonly embedding?: string
}

/** Options of `multipleNegatives`. */
export interface MultipleNegativesOptions extends EmbeddingOptions {
  /** Factor > 0 of the cosine similarities, the reciprocal of a temperature. Default 20. */
  readonly scale?: number
  /** Whether the loss of positives among all anchors is averaged with that of anchors. Default false. */
  readonly symmetric?: boolean
}

/**
 * Multiple-negatives ranking loss (InfoNCE) of pairs: the positive of the same example is the right answer among the
 * positives of all examples of the batch, and among the embeddings of further passes, hard negatives:
 *
 *     l[i] = -log p[i, i],   p[i] = softmax_j(scale cos(anchor[i], candidate[j]))
 *
 * Follows sentence-transformers' MultipleNegativesRankingLoss
 * (https://sbert.net/docs/package_reference/sentence_transformer/losses.html). The candidates are those of a
 * micro-batch. For metrics the candidates are classes: `accuracy` is the recall at 1, `top5` the recall at 5. IRE
 * samples positives from p.
 *
 * @throws OnnxIreError `invalid-option`; when built onto a model also `invalid-option` for a single pass
 * @example
 * ```ts
 * const loss = multipleNegatives()
 * const trainer = await Trainer.create(model, { loss, passes: ['anchor', 'positive'], pooling: 'mean', optimizer, runtime })
 * ```
 */
export function multipleNegatives(options: MultipleNegativesOptions = {}): Loss {
  checkNames('multipleNegatives', options, ['embedding', 'scale', 'symmetric'])
  const { scale = 20, symmetric = false } = options
  if (!(scale > 0 && Number.isFinite(scale))) throw invalidOption('multipleNegatives', 'scale', scale, 'a number > 0')
  return {
    name: 'multiple-negatives',
    build(outputs) {
      const [anchors, ...others] = findEmbeddings(outputs, options, 'multipleNegatives', 2).map(normalize)
      if (anchors!.shape?.[0] === 1 && others.length === 1)
        throw new OnnxIreError(
          'invalid-option',
          "multipleNegatives: the file of the model fixes the number of examples to 1, so that a positive would be compared with no other one: give the trainer 'freeBatch: true', or the file of freeBatch(model)",
        )
      const candidates = others.length === 1 ? others[0]! : op.Concat(others, { axis: 0 })
      const similarities = (a: Value, b: Value) => op.Mul(op.MatMul(a, op.Transpose(b, { perm: [1, 0] })), scale)
      const scores = classScores(similarities(anchors!, candidates))
      const labels = op.Range(scalar('int64', 0), op.Gather(op.Shape(anchors!), scalar('int64', 0)), scalar('int64', 1))
      const one = { weights: null, ...countExamples(anchors!) }
      const nll = negativeLogLikelihood(scores, labels)
      const both = symmetric
        ? op.Mul(op.Add(nll, negativeLogLikelihood(classScores(similarities(others[0]!, anchors!)), labels)), 0.5)
        : nll
      return {
        loss: op.ReduceMean(both, { keepdims: 0 }),
        targets: new Map(),
        count: one.count,
        predictions: new Map([['', { kind: 'classes', logits: scores.z, axis: 1, labels, mask: null }]]),
        // The sampled loss of a symmetric one would need two samples per example.
        ...(!symmetric && { sampled: sampleLabels(scores, 'positives', one) }),
      }
    },
  }
}

const countExamples = (x: Value): { readonly count: Value; readonly total: Value } => {
  const count = op.Cast(op.Gather(op.Shape(x), scalar('int64', 0)), { to: dtypes[x.dtype].onnx })
  return { count, total: count }
}

const classScores = (z: Value) => ({
  logits: z,
  z,
  logP: op.LogSoftmax(z, { axis: 1 }),
  axis: 1,
  shape: z.shape as Shape,
})

/** Options of `triplet`. */
export interface TripletOptions extends EmbeddingOptions, Pick<LossWeightOptions, 'sampleWeights'> {
  /** Difference of the distances above which the loss is 0, >= 0. Default 1. */
  readonly margin?: number
  /** Distance of two embeddings: 'euclidean' (default), or 'cosine' for 1 - cos. */
  readonly distance?: 'euclidean' | 'cosine'
}

/**
 * Triplet margin loss of three passes, anchor, positive and negative:
 *
 *     l = max(0, d(anchor, positive) - d(anchor, negative) + margin)
 *
 * Follows PyTorch's TripletMarginLoss (https://docs.pytorch.org/docs/stable/generated/torch.nn.TripletMarginLoss.html).
 * For metrics a triplet is a yes-or-no question: `accuracy` is the share of triplets whose positive is closer. It is no
 * log-likelihood: IRE needs `curvature: 'hutchinson'` or 'empirical'.
 *
 * @throws OnnxIreError `invalid-option`
 */
export function triplet(options: TripletOptions = {}): Loss {
  checkNames('triplet', options, ['embedding', 'margin', 'distance', 'sampleWeights'])
  const { margin = 1, distance = 'euclidean' } = options
  checkNumber('triplet', 'margin', margin, nonNegative)
  if (distance !== 'euclidean' && distance !== 'cosine')
    throw invalidOption('triplet', 'distance', distance, "'euclidean' or 'cosine'")
  return {
    name: 'triplet',
    build(outputs) {
      const [anchor, positive, negative] = findEmbeddings(outputs, options, 'triplet', 3, 3)
      const between = (a: Value, b: Value) => (distance === 'cosine' ? op.Sub(1, cosine(a, b)) : euclidean(a, b))
      const closer = op.Sub(between(anchor!, negative!), between(anchor!, positive!))
      const weighting = weighTargets(closer, closer, options, 'triplet')
      const losses = op.Relu(op.Sub(margin, closer))
      const yes = op.Add(op.Mul(closer, 0), 1)
      return {
        loss: weightedMean(losses, weighting),
        targets: weighting.inputs,
        ...countAndWeight(weighting),
        predictions: new Map([['', { kind: 'binary', logits: closer, targets: yes, mask: null }]]),
      }
    },
  }
}

/** Options of `cosineSimilarity`. */
export interface CosineSimilarityOptions extends EmbeddingOptions, LossWeightOptions {
  /** Name of the data's similarities: floats [N], usually in [0, 1]. Default 'targets'. */
  readonly targets?: string
}

/**
 * Mean squared difference of the cosine similarity of two passes and a given similarity t:
 *
 *     l = (cos(a, b) - t)^2
 *
 * Follows sentence-transformers' CosineSimilarityLoss. IRE samples targets as in `mse`.
 *
 * @throws OnnxIreError `invalid-option` when built onto a model
 */
export function cosineSimilarity(options: CosineSimilarityOptions = {}): Loss {
  checkLossNames('cosineSimilarity', options, ['embedding', 'targets'])
  return {
    name: 'cosine-similarity',
    build(outputs) {
      const name = options.targets ?? 'targets'
      const [a, b] = findEmbeddings(outputs, options, 'cosineSimilarity', 2, 2)
      const y = cosine(a!, b!)
      const given = input(name, y.dtype, y.shape)
      const weighting = weighTargets(given, y, options, 'cosineSimilarity')
      const { mask } = weighting
      const targets = mask ? op.Where(mask, given, 0) : given
      const e = op.Sub(y, targets)
      const noise = input(`noise/${name}`, y.dtype, y.shape)
      return {
        loss: weightedMean(op.Mul(e, e), weighting),
        targets: targetInputs(given, weighting, 'cosineSimilarity'),
        ...countAndWeight(weighting),
        predictions: new Map([['', { kind: 'values', output: y, targets, mask }]]),
        sampled: {
          loss: sampledMean(op.Mul(op.Mul(noise, Math.SQRT2), y), weighting),
          noise: new Map([[noise.name!, { value: noise, distribution: 'normal' }]]),
        },
      }
    },
  }
}

/** Options of `cosineEmbedding`. */
export interface CosineEmbeddingOptions extends EmbeddingOptions, LossWeightOptions {
  /** Name of the data's sides: floats [N], 1 for pairs that belong together and -1 for others. Default 'targets'. */
  readonly targets?: string
  /** Similarity in [-1, 1] of pairs that do not belong together below which the loss is 0. Default 0. */
  readonly margin?: number
}

/**
 * Cosine embedding loss of two passes:
 *
 *     l = 1 - cos(a, b)                  if t = 1
 *         max(0, cos(a, b) - margin)     if t = -1
 *
 * Follows PyTorch's CosineEmbeddingLoss
 * (https://docs.pytorch.org/docs/stable/generated/torch.nn.CosineEmbeddingLoss.html). For metrics the cosine minus the
 * margin is a logit of t > 0. It is no log-likelihood: IRE needs `curvature: 'hutchinson'` or 'empirical'.
 *
 * @throws OnnxIreError `invalid-option`
 */
export function cosineEmbedding(options: CosineEmbeddingOptions = {}): Loss {
  checkLossNames('cosineEmbedding', options, ['embedding', 'targets', 'margin'])
  const { targets: name = 'targets', margin = 0 } = options
  checkNumber('cosineEmbedding', 'margin', margin, { min: -1, max: 1 })
  return {
    name: 'cosine-embedding',
    build(outputs) {
      const [a, b] = findEmbeddings(outputs, options, 'cosineEmbedding', 2, 2)
      const y = cosine(a!, b!)
      const given = input(name, y.dtype, y.shape)
      const weighting = weighTargets(given, y, options, 'cosineEmbedding')
      const isSame = op.Greater(given, 0)
      const above = op.Sub(y, margin)
      return {
        loss: weightedMean(op.Where(isSame, op.Sub(1, y), op.Relu(above)), weighting),
        targets: targetInputs(given, weighting, 'cosineEmbedding'),
        ...countAndWeight(weighting),
        predictions: new Map([
          ['', { kind: 'binary', logits: above, targets: op.CastLike(isSame, y), mask: weighting.mask }],
        ]),
      }
    },
  }
}

/**
 * Finds the embeddings that a loss compares, in the order of the passes. Throws `invalid-option` if their number or
 * shape does not fit.
 */
function findEmbeddings(
  outputs: ReadonlyMap<string, Value>,
  { embedding }: EmbeddingOptions,
  loss: string,
  min: number,
  max = Number.POSITIVE_INFINITY,
): Value[] {
  const found = [...outputs].filter(([name]) => embedding === undefined || name.endsWith(`/${embedding}`))
  if (found.length < min || found.length > max) {
    const number = min === max ? `${min}` : `at least ${min}`
    const available = [...outputs.keys()].map((name) => `'${name}'`).join(', ')
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: this loss compares ${number} embeddings, but ${found.length} of the outputs ${embedding === undefined ? 'are given' : `end with '/${embedding}'`}: ${available}. Set option 'passes' of the trainer to ${number} names, and 'embedding' to the output of the model`,
    )
  }
  // A pass has a name without '/', and all passes have the same outputs.
  const ofModel = new Set(found.map(([name]) => name.slice(name.indexOf('/') + 1)))
  if (ofModel.size > 1 && ofModel.size < found.length)
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: the model has several outputs in every pass: set option 'embedding' to one of ${[...ofModel].map((name) => `'${name}'`).join(', ')}`,
    )
  const embeddings = found.map(([name, value]) => {
    const x = skipIdentity(value)
    if (isFloat(x.dtype) && x.shape?.length === 2) return toFullPrecision(x)
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: the output '${name}' is ${x.dtype}${formatShape(x.shape)}; an embedding is floating-point [N, D]: name another output with 'embedding', or set option 'pooling' of the trainer`,
    )
  })
  const widths = new Set(embeddings.map(({ shape }) => shape![1]))
  if (widths.size > 1 && [...widths].some((width) => typeof width === 'number'))
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: embeddings have the same width, and the outputs are ${found.map(([name, { shape }]) => `'${name}' ${formatShape(shape)}`).join(', ')}: leave in the model those that are compared, in Python by onnx.utils.extract_model. Similarities that a model returns, as CLIP does, are the logits of crossEntropy with the labels 0, 1, 2, ...`,
    )
  return embeddings
}

/** Rows of length 1. The limit of the length keeps the gradient of a row of zeros finite. */
export const normalize = (x: Value): Value => op.Div(x, op.Sqrt(op.Max([op.ReduceSum(op.Mul(x, x), [1]), 1e-12])))

/** Cosine of the angle between the rows of two matrices: [N]. */
const cosine = (a: Value, b: Value): Value => op.ReduceSum(op.Mul(normalize(a), normalize(b)), [1], { keepdims: 0 })

/**
 * Distance of the rows of two matrices: [N]. As in PyTorch 1e-6 is added to differences: the root of 0 has no slope.
 */
function euclidean(a: Value, b: Value): Value {
  const difference = op.Add(op.Sub(a, b), 1e-6)
  return op.Sqrt(op.ReduceSum(op.Mul(difference, difference), [1], { keepdims: 0 }))
}
