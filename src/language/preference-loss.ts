import { gradientsWithin } from '../grad/gradient.js'
import { input, scalar } from '../ir/leaf.js'
import { unknownDim } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { softplus } from '../loss/binary-cross-entropy.js'
import { chunkLoss, softmaxOfChunk } from '../loss/chunked-cross-entropy.js'
import { findOutput, type Loss, type LossGraph, skipIdentity } from '../loss/loss.js'
import { sum } from '../loss/sample-weights.js'
import { automaticChunk, findScoreHead, sumOverChunks } from '../loss/score-chunks.js'
import { op } from '../op/op.js'
import { checkNames, checkNumber, nonNegative, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { ignoredLabel } from './chat-data.js'

/** Name of the data's log-probabilities of both answers under the reference model: floats [pairs, 2]. */
export const referenceName = 'reference'

/** Options of `dpo`. */
export interface DpoOptions {
  /** Factor of the reward, > 0: the larger, the closer the model remains to the reference. Default 0.1. */
  readonly beta?: number | undefined
  /** Share of pairs in [0, 0.5) whose preference is assumed to be the wrong way round. Default 0. */
  readonly labelSmoothing?: number | undefined
  /** Number of positions whose logits are in memory at once, as in `crossEntropy`. Default 'auto'. */
  readonly chunk?: number | 'auto' | undefined
}

/** Options of `orpo`. */
export interface OrpoOptions {
  /** Weight >= 0 of the odds ratio. Default 0.1. */
  readonly lambda?: number | undefined
  /** Number of positions whose logits are in memory at once, as in `crossEntropy`. Default 'auto'. */
  readonly chunk?: number | 'auto' | undefined
}

/**
 * Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290), the loss for `preferenceData` with
 * `addReference`: the mean over pairs of
 *
 *     l = -(1 - s) log sigmoid(z) - s log sigmoid(-z)
 *     z = beta ((log p(chosen) - log p(rejected)) - (log q(chosen) - log q(rejected)))
 *
 * with the model p, the reference q and label smoothing s. Log-probabilities are sums over the tokens of the answer.
 * The metrics `accuracy` and `margin` are the share of pairs with z > 0 and the mean of z. IRE samples the preferred
 * answer: the chosen one with probability sigmoid(z).
 * @throws OnnxIreError `invalid-option`, also when built onto another model than that of `trainingModel` with `pairs`
 * @example
 * ```ts
 * const data = await addReference(preferenceData(rows, chat), chat.model, { runtime })
 * const trainer = await Trainer.create(trainingModel(lora(chat.model), { pairs: true }), { loss: dpo(), optimizer, runtime })
 * ```
 */
export function dpo(options: DpoOptions = {}): Loss {
  checkNames('dpo', options, ['beta', 'labelSmoothing', 'chunk'])
  const { beta = 0.1, labelSmoothing = 0, chunk = 'auto' } = options
  checkNumber('dpo', 'beta', beta, { min: Number.MIN_VALUE, max: 1e6 })
  checkNumber('dpo', 'labelSmoothing', labelSmoothing, { min: 0, max: 0.499 })
  checkChunk('dpo', chunk)
  return {
    name: 'dpo',
    build(outputs) {
      const pairs = findPairs('dpo', outputs, chunk)
      const reference = input(referenceName, pairs.sums.dtype, [pairs.labels.shape![0]!, 2])
      const [chosen, rejected] = answers(op.Sub(op.Neg(pairs.sums), reference))
      const z = op.Mul(op.Sub(chosen, rejected), beta)
      const [wrong, right] = [softplus(op.Neg(z)), softplus(z)]
      const losses =
        labelSmoothing === 0 ? wrong : op.Add(op.Mul(wrong, 1 - labelSmoothing), op.Mul(right, labelSmoothing))
      const noise = input(`noise/${pairs.labels.name}`, z.dtype, [pairs.labels.shape![0]!])
      // A uniform number is below sigmoid(z) with that probability; -log sigmoid(-z) is the loss of the other answer.
      const isChosen = op.Less(noise, op.Sigmoid(z))
      return buildLoss(pairs, losses, z, [reference], {
        losses: op.Where(isChosen, wrong, right),
        noise,
      })
    },
  }
}

/**
 * Odds ratio preference optimization (Hong et al. 2024, arXiv 2403.07691), the loss for `preferenceData` without a
 * reference: the mean over pairs of
 *
 *     l = -log p(chosen) - lambda log sigmoid(z)
 *     z = log odds(chosen) - log odds(rejected),   log odds = log p - log(1 - p)
 *
 * with log p the mean over the tokens of the answer, so that the model learns the chosen answer too. The metrics
 * `accuracy` and `margin` are the share of pairs with z > 0 and the mean of z. IRE needs the curvature 'empirical'.
 * @throws OnnxIreError `invalid-option`, also when built onto another model than that of `trainingModel` with `pairs`
 * @example
 * ```ts
 * await Trainer.create(trainingModel(lora(chat.model), { pairs: true }), { loss: orpo({ lambda: 0.1 }), optimizer, runtime })
 * ```
 */
export function orpo(options: OrpoOptions = {}): Loss {
  checkNames('orpo', options, ['lambda', 'chunk'])
  const { lambda = 0.1, chunk = 'auto' } = options
  checkNumber('orpo', 'lambda', lambda, nonNegative)
  checkChunk('orpo', chunk)
  return {
    name: 'orpo',
    build(outputs) {
      const pairs = findPairs('orpo', outputs, chunk)
      const logP = op.Neg(op.Div(pairs.sums, op.Max([pairs.counts, 1])))
      // A probability of 1 has no odds; in float32 a mean of log p can be 0.
      const below = op.Min([logP, -1e-6])
      const [chosen, rejected] = answers(op.Sub(below, logOneMinusExp(below)))
      const z = op.Sub(chosen, rejected)
      const losses = op.Sub(op.Mul(softplus(op.Neg(z)), lambda), answers(logP)[0])
      return buildLoss(pairs, losses, z, [])
    },
  }
}

/** log(1 - exp(x)) for x < 0: 1 - exp(x) = tanh(-x / 2) (1 + exp(x)) has no cancellation near 0. */
const logOneMinusExp = (x: Value): Value => op.Add(op.Log(op.Tanh(op.Mul(x, -0.5))), softplus(x))

function checkChunk(owner: string, chunk: number | 'auto'): void {
  if (chunk !== 'auto') checkNumber(owner, 'chunk', chunk, positiveCount)
}

/** Values of both answers [pairs, 2] as two values [pairs]. */
const answers = (x: Value): [chosen: Value, rejected: Value] => [
  op.Gather(x, scalar('int64', 0), { axis: 1 }),
  op.Gather(x, scalar('int64', 1), { axis: 1 }),
]

/** Answers in pairs with their log-probabilities. */
interface AnswerPairs {
  /** Labels of the data: int64 [pairs, 2, length]. */
  readonly labels: Value
  /** Number of classes of a label. */
  readonly classes: number
  /** Sums of -log p over the counted tokens of every answer: [pairs, 2]. */
  readonly sums: Value
  /** Number of counted tokens of every answer: floats [pairs, 2]. */
  readonly counts: Value
  /** Gradients of a loss, given its gradients by `sums`, by the values of the model in `active`. */
  gradients(dSums: Value, active: ReadonlySet<Value>): NonNullable<LossGraph['seeds']>
}

/**
 * Finds the logits of a model of pairs, and computes the log-probabilities of their answers by chunks of positions.
 * Throws `invalid-option` if the model has no such logits.
 */
export function findPairs(owner: string, outputs: ReadonlyMap<string, Value>, chunk: number | 'auto'): AnswerPairs {
  const head = findScoreHead(skipIdentity(findOutput(outputs, 'logits', owner)))
  const { shape = [] } = head.scores
  const classes = shape.at(-1)
  if (shape.length !== 3 || typeof classes !== 'number')
    throw new OnnxIreError(
      'invalid-option',
      `${owner}: the logits of the model are not [rows, length, vocabulary] with a known vocabulary: take the decoder of a language model`,
    )
  const size = chunk === 'auto' ? automaticChunk(classes) : chunk
  const [rows] = shape
  const labels = input('labels', 'int64', [typeof rows === 'number' ? rows / 2 : unknownDim(), 2, shape[1]!])
  const isCounted = op.Not(op.Equal(labels, scalar('int64', ignoredLabel)))
  const targets = op.Where(isCounted, labels, scalar('int64', 0))
  const forward = sumOverChunks(
    {
      head,
      size,
      perPosition: [targets],
      build({ z, perPosition: [y], isPosition }) {
        const { loss, dz, results } = chunkLoss({
          softmax: softmaxOfChunk(z),
          labels: y!,
          weight: isPosition,
          smoothing: null,
        })
        return { loss, dz, results: [results[1]!] }
      },
    },
    [],
  )
  const counted = op.CastLike(isCounted, forward.loss)
  const perAnswer = (x: Value) => op.ReduceSum(x, [2], { keepdims: 0 })
  return {
    labels,
    classes,
    sums: perAnswer(op.Where(isCounted, forward.results[0]!, 0)),
    counts: perAnswer(counted),
    gradients: (dSums, active) =>
      sumOverChunks(
        {
          head,
          size,
          perPosition: [targets, op.Mul(op.Unsqueeze(dSums, [2]), counted)],
          build: ({ z, perPosition: [y, weight], isPosition }) =>
            chunkLoss({
              softmax: softmaxOfChunk(z),
              labels: y!,
              weight: op.Mul(weight!, isPosition),
              smoothing: null,
            }),
        },
        [...head.features, ...head.shared].filter((x) => active.has(x)),
      ).seeds,
  }
}

/**
 * The mean of losses per pair. The gradients of the logits need the loss of the whole answer, so the chunks are
 * computed twice: first the log-probabilities, then the gradients.
 * @param z score of the chosen answer against the rejected one, per pair
 */
function buildLoss(
  pairs: AnswerPairs,
  losses: Value,
  z: Value,
  inputs: readonly Value[],
  sampled?: { readonly losses: Value; readonly noise: Value },
): LossGraph {
  const { labels, classes, sums } = pairs
  const mean = (x: Value) => op.ReduceMean(x, { keepdims: 0 })
  const differentiate = (loss: Value, active: ReadonlySet<Value>) => {
    const [dSums] = gradientsWithin([[loss, scalar(loss.dtype, 1)]], [sums], () => true)
    return { loss, seeds: pairs.gradients(dSums!, active) }
  }
  const ones = op.Expand(scalar(z.dtype, 1), op.Shape(z))
  const build = (active: ReadonlySet<Value>): LossGraph => ({
    ...differentiate(mean(losses), active),
    withSeeds: build,
    targets: new Map([labels, ...inputs].map((value) => [value.name!, value])),
    labels: new Map([[labels.name!, { classes, ignoreIndex: ignoredLabel }]]),
    count: sum(ones),
    predictions: new Map([['', { kind: 'binary', logits: z, targets: ones, mask: null }]]),
    ...(sampled && {
      sampled: {
        ...differentiate(mean(sampled.losses), active),
        noise: new Map([[sampled.noise.name!, { value: sampled.noise, distribution: 'uniform' }]]),
      },
    }),
  })
  return build(new Set())
}
