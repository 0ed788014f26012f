import { dtypes } from '../ir/dtype.js'
import { input } from '../ir/leaf.js'
import { formatShape } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNames, checkNumber, invalidOption, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { LossGraph } from './loss.js'

/** Weights of examples and targets; options of every loss. */
export interface LossWeightOptions {
  /** Name of the data's weight per example: float [N], each >= 0. Default: every example has weight 1. */
  readonly sampleWeights?: string
  /**
   * Name of the data's weight per target: float, each >= 0, with the shape of the labels or targets (for probabilities,
   * without the class axis). A target of weight 0 is ignored by the loss and by metrics, whatever its value (a label
   * still has to be a class). Default: every target has weight 1.
   */
  readonly mask?: string
}

/**
 * Throws `invalid-option` for a misspelled option of a loss.
 * @param own names of its options besides those of `LossWeightOptions`
 */
export const checkLossNames = (owner: string, options: object, own: readonly string[]): void =>
  checkNames(owner, options, [...own, 'sampleWeights', 'mask'])

/** Weights of the targets of a batch, as graph values. */
export interface SampleWeights {
  /** Weight per target, 0 for ignored targets; null if all weights are 1. */
  readonly weights: Value | null
  /** Number of targets that are not ignored. */
  readonly count: Value
  /** Sum of the weights; the same value as `count` if the weights are only 0 and 1. */
  readonly total: Value
}

/** Weights of the targets of a batch, with the inputs and the mask they come from. */
interface TargetWeights extends SampleWeights {
  /** Inputs that the data feed, by name. */
  readonly inputs: ReadonlyMap<string, Value>
  /** Bool per target, false for ignored targets; null if every target counts. */
  readonly mask: Value | null
}

/**
 * Builds the weights of `targets` (one element per target) in the element type of `like`.
 * @param notIgnored bool per target, false for targets that their own value marks as ignored
 */
export function weighTargets(
  targets: Value,
  like: Value,
  { sampleWeights, mask: maskName }: LossWeightOptions,
  loss: string,
  notIgnored: Value | null = null,
): TargetWeights {
  const inputs = new Map<string, Value>()
  const addInput = (name: string, value: Value): Value => {
    if (inputs.has(name))
      throw new OnnxIreError('invalid-option', `${loss}: two inputs have the name '${name}'; rename one of them`)
    inputs.set(name, value)
    return value
  }
  const factors: Value[] = notIgnored ? [op.Cast(notIgnored, { to: dtypes[like.dtype].onnx })] : []
  let mask = notIgnored
  if (maskName !== undefined) {
    const given = addInput(maskName, input(maskName, like.dtype, targets.shape))
    factors.push(given)
    mask = mask ? op.And(mask, op.Greater(given, 0)) : op.Greater(given, 0)
  }
  if (sampleWeights !== undefined) {
    const given = addInput(sampleWeights, input(sampleWeights, like.dtype, [exampleDim(targets, loss)]))
    factors.push(expandToTargets(given, targets))
  }
  const weights = factors.length > 0 ? factors.reduce((a, b) => op.Mul(a, b)) : null
  // The divisor of the mean must not depend on the model: only the type of `like` is used.
  const toNumber = (x: Value) => op.Cast(x, { to: dtypes[like.dtype].onnx })
  const count = mask ? sum(toNumber(mask)) : toNumber(op.Size(targets))
  return { inputs, mask, weights, count, total: weights && inputs.size > 0 ? sum(weights) : count }
}

function exampleDim({ shape }: Value, loss: string) {
  const [examples] = shape ?? []
  if (examples === undefined)
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: sampleWeights requires targets with a leading axis of examples, not ${formatShape(shape)}`,
    )
  return examples
}

/** Expands weights [N] to the shape of the targets [N, ...]. */
function expandToTargets(weights: Value, targets: Value): Value {
  const others = Array.from({ length: targets.shape!.length - 1 }, (_, i) => i + 1)
  return others.length === 0 ? weights : op.Expand(op.Unsqueeze(weights, others), op.Shape(targets))
}

/** Sum of all elements, a scalar. */
export const sum = (x: Value): Value => op.ReduceSum(x, { keepdims: 0 })

/** Weighted mean, sum_i w_i l_i / total; the sum if the total is 0. */
export const weightedMean = (losses: Value, { weights, count, total }: SampleWeights): Value =>
  weights || total !== count
    ? op.Div(sum(weights ? op.Mul(losses, weights) : losses), oneIfZero(total))
    : op.ReduceMean(losses, { keepdims: 0 })

/**
 * Mean for sampled targets, sum_i sqrt(w_i) l_i / sqrt(count total). For gradients g_i of l_i with E[g_i g_j] = 0, its
 * gradient g has E[count g^2] = sum_i w_i E[g_i^2] / total: the weighted mean of the targets' terms of the Fisher
 * diagonal.
 */
export const sampledMean = (losses: Value, { weights, count, total }: SampleWeights): Value =>
  weights
    ? op.Div(sum(op.Mul(losses, op.Sqrt(weights))), op.Sqrt(oneIfZero(op.Mul(count, total))))
    : op.ReduceMean(losses, { keepdims: 0 })

/** Replaces a denominator of 0 by 1. The numerator is then 0 too, or the smoothed loss of labels of class weight 0. */
export const oneIfZero = (total: Value): Value => op.Where(op.Greater(total, 0), total, 1)

/** Inputs of a loss: its targets and their weights. Throws `invalid-option` if two have the same name. */
export function targetInputs(targets: Value, { inputs }: TargetWeights, loss: string): ReadonlyMap<string, Value> {
  const name = targets.name!
  if (inputs.has(name))
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: targets and weights both have the name '${name}'; rename one of them`,
    )
  return new Map([[name, targets], ...inputs])
}

/** The fields `count` and `weight` of a LossGraph. */
export const countAndWeight = ({ count, total }: SampleWeights): Pick<LossGraph, 'count' | 'weight'> =>
  total === count ? { count } : { count, weight: total }

/** Multiplies two factors of which either may be null, for 1. */
export const multiplyOptional = (a: Value | null, b: Value | null): Value | null => (a && b ? op.Mul(a, b) : (a ?? b))

/** Throws `invalid-option` if a number of the list is negative or not finite. */
export function checkNonNegativeList(owner: string, option: string, numbers: readonly number[] | undefined): void {
  if (numbers === undefined) return
  if (!Array.isArray(numbers) && !ArrayBuffer.isView(numbers))
    throw invalidOption(owner, option, numbers, 'a list of numbers >= 0')
  for (const [i, number] of numbers.entries()) checkNumber(owner, `${option}[${i}]`, number, nonNegative)
}
