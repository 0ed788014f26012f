import { dtypes } from '../ir/dtype.js'
import { input } from '../ir/leaf.js'
import { formatShape } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { OnnxIreError } from '../util/errors.js'
import type { LossGraph } from './loss.js'

/** How much examples and targets count; every loss takes these. */
export interface WeightOptions {
  /** The name under which the data gives a weight >= 0 for every example: float, [N]. Default: all weigh 1. */
  readonly sampleWeights?: string
  /**
   * The name under which the data gives a number >= 0 for every target: float, of the labels' or targets' shape (for
   * probabilities, without the class axis). 0 leaves a target out, of metrics too, whatever number is written there (a
   * label has to be a class even so); 1 keeps it, other numbers weigh it. Default: all are kept.
   */
  readonly mask?: string
}

/** How much a batch's targets weigh, as values. */
export interface Weights {
  /** A number per target, 0 for what is left out; null where all weigh 1. */
  readonly weights: Value | null
  /** How many targets are kept. */
  readonly count: Value
  /** The sum of the weights; the same as `count` where nothing but what is left out differs. */
  readonly total: Value
}

export interface Weighing extends Weights {
  /** What the data has to give for it, by name. */
  readonly inputs: ReadonlyMap<string, Value>
  /** A bool per target, false for what is left out; null where all of it counts. */
  readonly kept: Value | null
}

/** Weighs `targets` (one element per target), those marked `kept` only, in numbers of the type of `like`. */
export function weighed(
  targets: Value,
  like: Value,
  { sampleWeights, mask }: WeightOptions,
  loss: string,
  kept: Value | null = null,
): Weighing {
  const inputs = new Map<string, Value>()
  const give = (name: string, value: Value): Value => {
    if (inputs.has(name))
      throw new OnnxIreError('invalid-option', `${loss}: two inputs would be named '${name}'; name one differently`)
    inputs.set(name, value)
    return value
  }
  const factors: Value[] = kept ? [op.Cast(kept, { to: dtypes[like.dtype].onnx })] : []
  let counted = kept
  if (mask !== undefined) {
    const given = give(mask, input(mask, like.dtype, targets.shape))
    factors.push(given)
    counted = counted ? op.And(counted, op.Greater(given, 0)) : op.Greater(given, 0)
  }
  if (sampleWeights !== undefined) {
    const examples = examplesOf(targets, loss)
    factors.push(alongExamples(give(sampleWeights, input(sampleWeights, like.dtype, [examples])), targets))
  }
  const weights = factors.length > 0 ? factors.reduce((a, b) => op.Mul(a, b)) : null
  // What the mean is divided by does not depend on the model: of `like` only the type is used.
  const number = (x: Value) => op.Cast(x, { to: dtypes[like.dtype].onnx })
  const count = counted ? sum(number(counted)) : number(op.Size(targets))
  return { inputs, kept: counted, weights, count, total: weights && inputs.size > 0 ? sum(weights) : count }
}

function examplesOf({ shape }: Value, loss: string) {
  const [examples] = shape ?? []
  if (examples === undefined)
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: sampleWeights need targets whose first axis is that of the examples, not ${formatShape(shape)}`,
    )
  return examples
}

/** [N] as [N, ...]: the same for all of an example's targets. */
function alongExamples(given: Value, targets: Value): Value {
  const others = Array.from({ length: targets.shape!.length - 1 }, (_, i) => i + 1)
  return others.length === 0 ? given : op.Expand(op.Unsqueeze(given, others), op.Shape(targets))
}

export const sum = (x: Value): Value => op.ReduceSum(x, { keepdims: 0 })

/** sum_i w_i l_i / total; 0 where nothing weighs anything. */
export const weightedMean = (each: Value, { weights, count, total }: Weights): Value =>
  weights || total !== count
    ? op.Div(sum(weights ? op.Mul(each, weights) : each), orOne(total))
    : op.ReduceMean(each, { keepdims: 0 })

/**
 * sum_i sqrt(w_i) l_i / sqrt(count total), for l_i whose gradients g_i have E[g_i g_j] = 0: its gradient g has
 * E[count g^2] = sum_i w_i E[g_i^2] / total, the weighted mean of what each target contributes to the Fisher diagonal.
 */
export const sampledMean = (each: Value, { weights, count, total }: Weights): Value =>
  weights
    ? op.Div(sum(op.Mul(each, op.Sqrt(weights))), op.Sqrt(orOne(op.Mul(count, total))))
    : op.ReduceMean(each, { keepdims: 0 })

/** For denominators whose numerator is 0 whenever they are. */
const orOne = (total: Value): Value => op.Where(op.Greater(total, 0), total, 1)

/** The inputs of a loss: its targets and what weighs them. Throws `invalid-option` where two have the same name. */
export function targetInputs(targets: Value, { inputs }: Weighing, loss: string): ReadonlyMap<string, Value> {
  const name = targets.name!
  if (inputs.has(name))
    throw new OnnxIreError(
      'invalid-option',
      `${loss}: targets and weights are both named '${name}'; name one differently`,
    )
  return new Map([[name, targets], ...inputs])
}

/** What a graph of a loss reports of its weights. */
export const reported = ({ count, total }: Weights): Pick<LossGraph, 'count' | 'weight'> =>
  total === count ? { count } : { count, weight: total }
