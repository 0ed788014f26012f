import { maxRank } from '../ir/shape.js'
import { choice, either, flag, type JsonSchema, list, real, text, whole } from '../util/json-schema.js'
import { type ArcFaceOptions, arcFace } from './arc-face.js'
import { type BinaryCrossEntropyOptions, binaryCrossEntropy } from './binary-cross-entropy.js'
import { type CrossEntropyOptions, crossEntropy } from './cross-entropy.js'
import { type CtcOptions, ctc } from './ctc.js'
import {
  type CosineEmbeddingOptions,
  type CosineSimilarityOptions,
  cosineEmbedding,
  cosineSimilarity,
  type MultipleNegativesOptions,
  multipleNegatives,
  type TripletOptions,
  triplet,
} from './embeddings.js'
import { type FocalOptions, focal } from './focal.js'
import { type KlOptions, kl } from './kl.js'
import type { Loss } from './loss.js'
import { dice, jaccard, type OverlapOptions } from './overlap.js'
import {
  type CharbonnierOptions,
  charbonnier,
  type HuberOptions,
  huber,
  type L1Options,
  l1,
  type MseOptions,
  mse,
  type PoissonOptions,
  poisson,
  type QuantileOptions,
  quantile,
  type RegressionOptions,
} from './regression.js'
import { type SsimOptions, ssim } from './ssim.js'

/** Data that a loss compares the model's output with. */
export interface LossTarget {
  /** Name of the tensor in the data. */
  readonly name: string
  /** Whether targets are class numbers; else they are real numbers or probabilities. */
  readonly isClasses: boolean
  /** Class number of targets that the loss ignores. */
  readonly ignoreIndex?: number | undefined
  /** Class number of the blank between the labels of a sequence; undefined for other targets. */
  readonly blank?: number
}

/** Entry of `lossRegistry`: how a recipe and the command line create a loss. */
interface LossEntry<Options extends object> {
  create(options: Options): Loss
  /** JSON Schema of every option. */
  readonly options: { readonly [K in keyof Options]-?: JsonSchema }
  /** Option that names the output of the model. */
  readonly output: keyof Options & string
  /** Absent for losses that compare outputs with each other. */
  target?(options: Options): LossTarget
}

const entry = <Options extends object>(definition: LossEntry<Options>): LossEntry<Options> => definition

const nonNegative = { minimum: 0 }
const between0And1 = { exclusiveMinimum: 0, exclusiveMaximum: 1 }
const weights = {
  sampleWeights: text("the name of the data's weights of examples"),
  mask: text("the name of the data's weights of targets; 0 ignores a target"),
}
const logits = text("the model's output with the logits")
const targets = text('the name of the targets in the data')
const embedding = text("the model's output with the embedding")
const axis = whole(-maxRank, 'the axis of the classes', maxRank - 1)
const labelSmoothing = real(
  { minimum: 0, exclusiveMaximum: 1 },
  'the share of a target that is spread over the classes',
)
const regression = { output: text("the model's output that is compared"), targets, ...weights }
const realTarget = ({ targets = 'targets' }: Pick<RegressionOptions, 'targets'>) => ({
  name: targets,
  isClasses: false,
})

const labels = text('the name of the labels in the data')
const classWeights = list(real(nonNegative), { minItems: 1 }, 'a weight for every class')
const ignoreIndex = whole(-1e9, 'the label of targets to ignore')
const binary = flag('whether every logit is a yes-or-no question')
const labelTarget = ({
  labels = 'labels',
  binary,
  ignoreIndex,
}: Pick<OverlapOptions, 'labels' | 'binary' | 'ignoreIndex'>) => ({ name: labels, isClasses: !binary, ignoreIndex })
const overlap = (create: (options: OverlapOptions) => Loss) =>
  entry<OverlapOptions>({
    create,
    options: {
      logits,
      labels,
      binary,
      smooth: real({ exclusiveMinimum: 0 }, 'the number that is added to both sides of the fraction'),
      classWeights,
      axis,
      ignoreIndex,
      ...weights,
    },
    output: 'logits',
    target: labelTarget,
  })

/**
 * Table of all losses of one output. The losses of recipes, of the command line and of the documentation are derived
 * from it.
 */
export const lossRegistry = {
  'cross-entropy': entry<CrossEntropyOptions>({
    create: crossEntropy,
    options: {
      logits,
      labels,
      axis,
      probabilities: flag('whether labels are distributions over the classes'),
      labelSmoothing,
      classWeights,
      ...weights,
      ignoreIndex,
      chunk: either([choice(['auto']), whole(1, 'positions')], 'the positions whose logits are in memory at once'),
    },
    output: 'logits',
    target: ({ labels = 'labels', probabilities, ignoreIndex }) => ({
      name: labels,
      isClasses: !probabilities,
      ignoreIndex,
    }),
  }),
  'binary-cross-entropy': entry<BinaryCrossEntropyOptions>({
    create: binaryCrossEntropy,
    options: {
      logits,
      targets,
      posWeight: either(
        [real(nonNegative), list(real(nonNegative), { minItems: 1 })],
        'the weight of a positive target: a number, or a list with one per element of the last axis',
      ),
      labelSmoothing,
      ...weights,
    },
    output: 'logits',
    target: realTarget,
  }),
  focal: entry<FocalOptions>({
    create: focal,
    options: {
      logits,
      labels,
      binary,
      gamma: real(nonNegative, 'the exponent of 1 - p'),
      alpha: real({ minimum: 0, maximum: 1 }, 'the weight of positive targets'),
      classWeights,
      axis,
      ignoreIndex,
      ...weights,
    },
    output: 'logits',
    target: labelTarget,
  }),
  dice: overlap(dice),
  jaccard: overlap(jaccard),
  ctc: entry<CtcOptions>({
    create: ctc,
    options: {
      logits,
      timeFirst: flag('whether the logits are [T, N, C]'),
      labels,
      blank: whole(0, 'the class of the blank'),
      inputLengths: text("the name of the data's numbers of steps"),
      targetLengths: text("the name of the data's numbers of labels"),
      divideByLength: flag('whether the loss of an example is divided by its number of labels'),
      sampleWeights: weights.sampleWeights,
    },
    output: 'logits',
    target: ({ labels = 'labels', blank = 0 }) => ({ name: labels, isClasses: true, blank }),
  }),
  l1: entry<L1Options>({ create: l1, options: regression, output: 'output', target: realTarget }),
  huber: entry<HuberOptions>({
    create: huber,
    options: {
      delta: real({ exclusiveMinimum: 0 }, 'the size of an error above which the loss is linear'),
      ...regression,
    },
    output: 'output',
    target: realTarget,
  }),
  kl: entry<KlOptions>({
    create: kl,
    options: { logits, targets, axis, ...weights },
    output: 'logits',
    target: realTarget,
  }),
  mse: entry<MseOptions>({ create: mse, options: regression, output: 'output', target: realTarget }),
  quantile: entry<QuantileOptions>({
    create: quantile,
    options: {
      quantile: either(
        [real(between0And1), list(real(between0And1), { minItems: 1 })],
        'the quantile that is predicted: a number, or a list with one per element of the last axis',
      ),
      ...regression,
    },
    output: 'output',
    target: realTarget,
  }),
  charbonnier: entry<CharbonnierOptions>({
    create: charbonnier,
    options: {
      epsilon: real({ exclusiveMinimum: 0 }, 'the size of an error below which the loss is quadratic'),
      ...regression,
    },
    output: 'output',
    target: realTarget,
  }),
  ssim: entry<SsimOptions>({
    create: ssim,
    options: {
      output: text("the model's output with the images"),
      targets,
      range: real({ exclusiveMinimum: 0 }, 'the difference between the largest and the smallest value of a pixel'),
      sampleWeights: weights.sampleWeights,
    },
    output: 'output',
    target: realTarget,
  }),
  'multiple-negatives': entry<MultipleNegativesOptions>({
    create: multipleNegatives,
    options: {
      embedding,
      scale: real({ exclusiveMinimum: 0 }, 'the factor of cosine similarities'),
      symmetric: flag('whether anchors are also candidates of positives'),
    },
    output: 'embedding',
  }),
  triplet: entry<TripletOptions>({
    create: triplet,
    options: {
      embedding,
      margin: real({ minimum: 0 }, 'the difference of distances above which the loss is 0'),
      distance: choice(['euclidean', 'cosine'], 'the distance of two embeddings'),
      sampleWeights: weights.sampleWeights,
    },
    output: 'embedding',
  }),
  'cosine-similarity': entry<CosineSimilarityOptions>({
    create: cosineSimilarity,
    options: { embedding, targets, ...weights },
    output: 'embedding',
    target: realTarget,
  }),
  'cosine-embedding': entry<CosineEmbeddingOptions>({
    create: cosineEmbedding,
    options: {
      embedding,
      targets,
      margin: real({ minimum: -1, maximum: 1 }, 'the similarity of different examples below which the loss is 0'),
      ...weights,
    },
    output: 'embedding',
    target: realTarget,
  }),
  'arc-face': entry<ArcFaceOptions>({
    create: arcFace,
    options: {
      logits,
      labels,
      margin: real({ minimum: 0, exclusiveMaximum: Math.PI / 2 }, 'the angle added to that of the true class'),
      scale: real({ exclusiveMinimum: 0 }, 'the factor of the cosines'),
      ...weights,
    },
    output: 'logits',
    target: ({ labels = 'labels' }) => ({ name: labels, isClasses: true }),
  }),
  poisson: entry<PoissonOptions>({ create: poisson, options: regression, output: 'output', target: realTarget }),
}

/** Name of a loss in `lossRegistry`. */
export type LossKind = keyof typeof lossRegistry

/** Options of every loss, by kind. */
export type LossOptions = { readonly [Kind in LossKind]: Parameters<(typeof lossRegistry)[Kind]['create']>[0] }
