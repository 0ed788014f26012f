import { isFloat } from '../ir/dtype.js'
import { constant, input, tensorFrom } from '../ir/leaf.js'
import { formatShape } from '../ir/shape.js'
import { bodiesOf } from '../ir/topology.js'
import type { Value } from '../ir/value.js'
import { definitionOf, op } from '../op/op.js'
import { belowOne, checkNumber, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { findLastArgument, findOutput, type Loss, skipIdentity, toFullPrecision } from './loss.js'
import {
  checkLossNames,
  checkNonNegativeList,
  countAndWeight,
  type LossWeightOptions,
  multiplyOptional,
  sampledMean,
  targetInputs,
  weighTargets,
  weightedMean,
} from './sample-weights.js'

/** Options of `binaryCrossEntropy`. */
export interface BinaryCrossEntropyOptions extends LossWeightOptions {
  /**
   * Output of the model that holds the logits. A trailing Sigmoid is recognized and bypassed. Default: the only output.
   */
  readonly logits?: string
  /** Name of the data's targets: floats in [0, 1] with the type and shape of the logits. Default 'targets'. */
  readonly targets?: string
  /**
   * Weight of positive targets relative to negative ones: a number >= 0, or one per element of the last axis. Default
   * 1.
   */
  readonly posWeight?: number | readonly number[]
  /** Label smoothing s in [0, 1): a target t becomes t (1 - s) + s / 2. Default 0. */
  readonly labelSmoothing?: number
}

/**
 * Binary cross-entropy from logits, in nats: for yes-or-no targets, one or several per example.
 *
 *     l = -q t log sigmoid(z) - (1 - t) log(1 - sigmoid(z)),   q = posWeight
 *
 * averaged over all elements that are not ignored. Follows PyTorch's BCEWithLogitsLoss
 * (https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html), with Keras's label smoothing.
 * IRE samples targets as z + standard logistic noise > 0, a sample of Bernoulli(sigmoid(z)).
 *
 * @throws OnnxIreError `invalid-option`; when built onto a model also `invalid-shape`
 * @example
 * ```ts
 * binaryCrossEntropy({ posWeight: 3 })
 * ```
 */
export function binaryCrossEntropy(options: BinaryCrossEntropyOptions = {}): Loss {
  checkLossNames('binaryCrossEntropy', options, ['logits', 'targets', 'posWeight', 'labelSmoothing'])
  const { targets: name = 'targets', posWeight = 1, labelSmoothing = 0 } = options
  checkNumber('binaryCrossEntropy', 'labelSmoothing', labelSmoothing, belowOne)
  if (typeof posWeight === 'number') checkNumber('binaryCrossEntropy', 'posWeight', posWeight, nonNegative)
  else checkNonNegativeList('binaryCrossEntropy', 'posWeight', posWeight)
  return {
    name: 'bce',
    build(outputs) {
      const z = toFullPrecision(
        findLogits(findOutput(outputs, options.logits, 'binaryCrossEntropy'), 'binaryCrossEntropy'),
      )
      const given = input(name, z.dtype, z.shape)
      const weighting = weighTargets(given, z, options, 'binaryCrossEntropy')
      const { mask, weights, count, total } = weighting
      const targets = mask ? op.Where(mask, given, 0) : given
      const q = posWeight === 1 ? null : positiveWeight(posWeight, z)
      const t = labelSmoothing === 0 ? targets : op.Add(op.Mul(targets, 1 - labelSmoothing), labelSmoothing / 2)
      // Curvature of an element relative to an unweighted one: q t + 1 - t.
      const curvature = q && op.Add(op.Mul(op.Sub(q, 1), targets), 1)
      const noise = input(`noise/${name}`, z.dtype, z.shape)
      const sampled = op.CastLike(op.Greater(op.Add(z, noise), 0), z)
      return {
        loss: weightedMean(elementLoss(z, t, q), weighting),
        targets: targetInputs(given, weighting, 'binaryCrossEntropy'),
        ...countAndWeight(weighting),
        predictions: new Map([['', { kind: 'binary', logits: z, targets, mask }]]),
        sampled: {
          loss: sampledMean(elementLoss(z, sampled, null), {
            weights: multiplyOptional(curvature, weights),
            count,
            total,
          }),
          noise: new Map([[noise.name!, { value: noise, distribution: 'logistic' }]]),
        },
      }
    },
  }
}

/**
 * Loss of every element, q t softplus(-z) + (1 - t) softplus(z). For q = 1 this equals max(z, 0) - z t + log(1 +
 * exp(-|z|)): no overflow and no cancellation, and smooth at z = 0, where training of a new head starts.
 */
export function elementLoss(z: Value, t: Value, q: Value | null): Value {
  const positive = op.Mul(t, softplus(op.Neg(z)))
  return op.Add(q ? op.Mul(positive, q) : positive, op.Mul(op.Sub(1, t), softplus(z)))
}

/** log(1 + exp(z)). onnxruntime has Softplus in float32 only; (z + |z|) / 2 is max(z, 0) with slope 1/2 at 0. */
export const softplus = (z: Value): Value =>
  z.dtype === 'float32'
    ? op.Softplus(z)
    : op.Add(op.Mul(op.Add(z, op.Abs(z)), 0.5), op.Log(op.Add(op.Exp(op.Neg(op.Abs(z))), 1)))

/**
 * Finds the logits of an output: the argument of a trailing Sigmoid, the logits log(p / (1 - p)) of probabilities that
 * are computed in another way, such as the mean over windows or those of a branch, else the output itself.
 */
export function findLogits(output: Value, loss: string): Value {
  const argument = findLastArgument(output, ['Sigmoid'])?.argument
  const logits = argument ?? skipIdentity(output)
  if (!isFloat(logits.dtype))
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: the logits are ${logits.dtype}${formatShape(logits.shape)}; they must be floating-point`,
    )
  return argument || !isProbability(logits) ? logits : logitOf(toFullPrecision(logits))
}

const activations: ReadonlySet<string> = new Set(['Sigmoid', 'HardSigmoid', 'Softmax'])
/** Operators whose results are between the smallest and the largest element of their first input. */
const averages: ReadonlySet<string> = new Set([
  'ReduceMean',
  'ReduceMax',
  'ReduceMin',
  'AveragePool',
  'MaxPool',
  'Clip',
])

/** Whether the elements of a value are certainly in [0, 1], because an activation computes them. */
function isProbability({ source, index }: Value): boolean {
  if (source.kind !== 'node') return false
  const { operator, inputs } = source
  if (activations.has(operator)) return true
  if (operator === 'If') return bodiesOf(source).every(({ outputs }) => isProbability(outputs[index]!))
  if (operator === 'Concat') return inputs.every((x) => isProbability(x!))
  return (definitionOf(operator).view !== undefined || averages.has(operator)) && isProbability(inputs[0]!)
}

/** log(p / (1 - p)), for p at least 1e-7 from 0 and 1. */
function logitOf(p: Value): Value {
  const within = op.Clip(p, 1e-7, 1 - 1e-7)
  return op.Sub(op.Log(within), op.Log(op.Sub(1, within)))
}

function positiveWeight(weight: number | readonly number[], { dtype, shape }: Value): Value {
  if (typeof weight === 'number') return constant(tensorFrom(dtype, [], [weight]))
  const last = shape?.at(-1)
  if (shape?.length === 0 || (typeof last === 'number' && last !== weight.length))
    throw new OnnxIreError(
      'invalid-option',
      `binaryCrossEntropy: posWeight has ${weight.length} numbers, but the logits have shape ${formatShape(shape)}: give one number, or one per element of the last axis`,
    )
  return constant(tensorFrom(dtype, [weight.length], weight))
}
