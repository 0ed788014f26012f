import { isFloat } from '../ir/dtype.js'
import { constant, input, tensorFrom } from '../ir/leaf.js'
import { formatShape } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { belowOne, checkNumber, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { checkWeights } from './categorical.js'
import type { Loss } from './loss.js'
import { inFullPrecision, outputNamed, throughViews } from './output.js'
import { reported, sampledMean, targetInputs, type WeightOptions, weighed, weightedMean } from './weights.js'

export interface BinaryCrossEntropyOptions extends WeightOptions {
  /** The output that holds the logits. A trailing Sigmoid there is recognised and bypassed. Default: the only output. */
  readonly logits?: string
  /** The name under which the data gives the targets: floats in [0, 1] of the logits' type and shape. Default 'targets'. */
  readonly targets?: string
  /** What a positive target weighs beside a negative one; a number >= 0, or one for each element of the last axis. Default 1. */
  readonly posWeight?: number | readonly number[]
  /** Share s of the targets that is drawn to the middle, t (1 - s) + s / 2, in [0, 1). Default 0. */
  readonly labelSmoothing?: number
}

/**
 * Binary cross-entropy from logits in nats, averaged over all elements that are not left out:
 * -q t log sigmoid(z) - (1 - t) log(1 - sigmoid(z)), q = posWeight; several yes-or-no labels per example are several
 * elements. As PyTorch's BCEWithLogitsLoss
 * (https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html), with Keras's label smoothing.
 *
 * Its targets are sampled as z + standard logistic noise > 0, which is a draw from Bernoulli(sigmoid(z)).
 * Throws `invalid-option`, `invalid-shape` when built.
 */
export function binaryCrossEntropy(options: BinaryCrossEntropyOptions = {}): Loss {
  const { targets: name = 'targets', posWeight = 1, labelSmoothing = 0 } = options
  checkNumber('binaryCrossEntropy', 'labelSmoothing', labelSmoothing, belowOne)
  if (typeof posWeight === 'number') checkNumber('binaryCrossEntropy', 'posWeight', posWeight, nonNegative)
  else checkWeights('binaryCrossEntropy', 'posWeight', posWeight)
  return {
    name: 'bce',
    build(outputs) {
      const z = inFullPrecision(logitsOf(outputNamed(outputs, options.logits, 'binaryCrossEntropy')))
      const given = input(name, z.dtype, z.shape)
      const weighing = weighed(given, z, options, 'binaryCrossEntropy')
      const { kept, weights, count, total } = weighing
      const targets = kept ? op.Where(kept, given, 0) : given
      const positive = posWeight === 1 ? null : positiveWeight(posWeight, z)
      const t = labelSmoothing === 0 ? targets : op.Add(op.Mul(targets, 1 - labelSmoothing), labelSmoothing / 2)
      // How much the curvature of an element is of that of an unweighted one: q t + 1 - t.
      const ofTarget = positive && op.Add(op.Mul(op.Sub(positive, 1), targets), 1)
      const noise = input(`noise/${name}`, z.dtype, z.shape)
      const drawn = op.CastLike(op.Greater(op.Add(z, noise), 0), z)
      const sampledWeights = ofTarget && weights ? op.Mul(ofTarget, weights) : (ofTarget ?? weights)
      return {
        loss: weightedMean(ofElement(z, t, positive), weighing),
        targets: targetInputs(given, weighing, 'binaryCrossEntropy'),
        ...reported(weighing),
        compared: new Map([['', { kind: 'binary', logits: z, targets, kept }]]),
        sampled: {
          loss: sampledMean(ofElement(z, drawn, null), { weights: sampledWeights, count, total }),
          noise: new Map([[noise.name!, { value: noise, distribution: 'logistic' }]]),
        },
      }
    },
  }
}

/**
 * q t softplus(-z) + (1 - t) softplus(z): for q = 1 the same as max(z, 0) - z t + log(1 + exp(-|z|)), and like it without
 * overflow or cancellation, but smooth at z = 0, where a fresh head begins.
 */
function ofElement(z: Value, t: Value, positive: Value | null): Value {
  const yes = op.Mul(t, softplus(op.Neg(z)))
  return op.Add(positive ? op.Mul(yes, positive) : yes, op.Mul(op.Sub(1, t), softplus(z)))
}

/** log(1 + exp(z)). onnxruntime has Softplus in float32 only; max(z, 0) is written so that its slope at 0 is 1/2. */
const softplus = (z: Value): Value =>
  z.dtype === 'float32'
    ? op.Softplus(z)
    : op.Add(op.Mul(op.Add(z, op.Abs(z)), 0.5), op.Log(op.Add(op.Exp(op.Neg(op.Abs(z))), 1)))

/** The value before a trailing Sigmoid. */
function logitsOf(output: Value): Value {
  const last = throughViews(output)
  const { source } = last
  const logits = source.kind === 'node' && source.operator === 'Sigmoid' ? source.inputs[0]! : last
  if (isFloat(logits.dtype)) return logits
  throw new OnnxIreError(
    'invalid-option',
    `binaryCrossEntropy: the logits are ${logits.dtype}${formatShape(logits.shape)}; they have to be floating-point`,
  )
}

function positiveWeight(weight: number | readonly number[], { dtype, shape }: Value): Value {
  if (typeof weight === 'number') return constant(tensorFrom(dtype, [], [weight]))
  const last = shape?.at(-1)
  if (shape?.length === 0 || (typeof last === 'number' && last !== weight.length))
    throw new OnnxIreError(
      'invalid-option',
      `binaryCrossEntropy: posWeight has ${weight.length} numbers, and the logits have ${formatShape(shape)}: one for each element of the last axis, or a single number`,
    )
  return constant(tensorFrom(dtype, [weight.length], weight))
}
