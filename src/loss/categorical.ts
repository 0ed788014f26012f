import { isFloat } from '../ir/dtype.js'
import { constant, input, tensorFrom } from '../ir/leaf.js'
import { axisOf, formatShape, type Shape } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNumber, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { LossGraph } from './loss.js'
import { inFullPrecision, outputNamed, throughViews } from './output.js'
import { sampledMean, type Weights } from './weights.js'

/** The scores of classes that an output holds: unnormalised, softmax(z) is the distribution. */
export interface Scores {
  readonly z: Value
  /** log softmax(z). */
  readonly logP: Value
  /** The axis of the classes, >= 0. */
  readonly axis: number
  readonly shape: Shape
}

/**
 * The scores before a trailing Softmax or LogSoftmax of an output, and the class axis.
 * Throws `invalid-option` for an output that is no float with a class axis, `invalid-shape` for an axis it has not.
 */
export function scoresOf(
  outputs: ReadonlyMap<string, Value>,
  name: string | undefined,
  axis: number | undefined,
  loss: string,
): Scores {
  const output = outputNamed(outputs, name, loss)
  let logits = throughViews(output)
  let classes = axis
  if (!isFloat(logits.dtype) || !logits.shape || logits.shape.length === 0)
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: the logits are ${logits.dtype}${formatShape(logits.shape)}; they have to be floating-point with a class axis`,
    )
  const rank = logits.shape.length
  const { source } = logits
  // A Softmax keeps the shape, also where inference knows that of its result only.
  let { shape } = logits
  if (source.kind === 'node' && (source.operator === 'Softmax' || source.operator === 'LogSoftmax')) {
    const normalized = axisOf(source.attributes['axis'] as number, rank)
    // One along another axis than the classes is part of the model.
    if (classes === undefined || axisOf(classes, rank) === normalized) {
      classes = normalized
      logits = source.inputs[0]!
      shape = logits.shape ?? shape
    }
  }
  const at = axisOf(classes ?? -1, rank)
  const z = inFullPrecision(logits)
  return { z, logP: op.LogSoftmax(z, { axis: at }), axis: at, shape }
}

/** -log p[label] of every label. */
export const negativeLogLikelihood = ({ logP, axis }: Scores, labels: Value): Value =>
  op.Neg(op.Squeeze(op.GatherElements(logP, op.Unsqueeze(labels, [axis]), { axis }), [axis]))

/** Labels drawn from softmax(z) as the arg-max of z plus standard Gumbel noise, and the plain loss against them. */
export function sampledLabels(scores: Scores, name: string, weights: Weights): NonNullable<LossGraph['sampled']> {
  const { z, axis } = scores
  const noise = input(`noise/${name}`, z.dtype, z.shape)
  const each = negativeLogLikelihood(scores, op.ArgMax(op.Add(z, noise), { axis, keepdims: 0 }))
  return {
    loss: sampledMean(each, weights),
    noise: new Map([[noise.name!, { value: noise, distribution: 'gumbel' }]]),
  }
}

/** A number per class as a 1-D constant of the scores' type. Throws `invalid-option` where there are more or fewer classes. */
export function perClassWeights(
  given: readonly number[] | undefined,
  { z, axis, shape }: Scores,
  loss: string,
): Value | null {
  if (given === undefined) return null
  const classes = shape[axis]
  if (typeof classes === 'number' && classes !== given.length)
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: classWeights has ${given.length} numbers, and the model tells ${classes} classes apart`,
    )
  return constant(tensorFrom(z.dtype, [given.length], given))
}

/** Throws `invalid-option` for weights that are negative or not finite. */
export function checkWeights(loss: string, option: string, weights: readonly number[] | undefined): void {
  for (const [i, weight] of (weights ?? []).entries()) checkNumber(loss, `${option}[${i}]`, weight, nonNegative)
}

/** Numbers per class, shaped to broadcast along the class axis. */
export const alongClasses = (weights: Value, { axis, shape }: Scores): Value => {
  const behind = Array.from({ length: shape.length - 1 - axis }, (_, i) => i + 1)
  return behind.length === 0 ? weights : op.Unsqueeze(weights, behind)
}
