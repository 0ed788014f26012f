import type { Seed } from '../grad/gradient.js'
import { dtypes, isFloat, isHalf } from '../ir/dtype.js'
import { constantTensor, numbersOf } from '../ir/leaf.js'
import { axisOf, type Dim, productOf } from '../ir/shape.js'
import { bodiesOf } from '../ir/topology.js'
import type { Node, Value } from '../ir/value.js'
import { cloneNode } from '../op/inline.js'
import { definitionOf, op } from '../op/op.js'
import { invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'

/**
 * Distribution of a noise input that the host fills: independent standard samples of the `Random` method of this name
 * (`huber` with its delta; `uniform` in [0, 1)).
 */
export type NoiseDistribution = 'uniform' | 'normal' | 'logistic' | 'sign' | { readonly huber: number }

/**
 * Loss that training minimizes, built onto the outputs of a model. Created by `crossEntropy`, `mse` and the like; any
 * object with these two members is a loss.
 */
export interface Loss {
  /** Name for reports and messages. */
  readonly name: string
  /**
   * Builds the loss onto outputs, by name.
   * @throws OnnxIreError `invalid-option` or `invalid-shape` if the outputs do not fit
   */
  build(outputs: ReadonlyMap<string, Value>): LossGraph
}

/** Graph of a loss: the scalar to minimize, the inputs it needs from the data, and the values that metrics read. */
export interface LossGraph {
  /** Scalar to minimize: the (weighted) mean over the examples or positions of a batch. */
  readonly loss: Value
  /** Graph inputs that the data feed in addition to the model's own, by name. */
  readonly targets: ReadonlyMap<string, Value>
  /** Targets that are class numbers, with their valid range; out-of-range labels are rejected before a step. */
  readonly labels?: ReadonlyMap<string, { readonly classes: Dim; readonly ignoreIndex: number | undefined }>
  /** Number of examples (or positions) in the mean; a float scalar. */
  readonly count: Value
  /**
   * Divisor of the mean if it is not `count`: the sum of weights, a float scalar. Micro-batches and the batches of an
   * evaluation are averaged with it, so that their average equals the mean of the whole. The loss of weight 0 is the sum
   * itself.
   */
  readonly weight?: Value
  /** Terms of a loss that is a sum of means with different divisors; micro-batches scale each term separately. */
  readonly meanTerms?: MeanTerms
  /**
   * Gradients of the loss that it computes itself, together with its value: by values of the model, from which the walk
   * goes on. Default: the walk starts at the loss.
   */
  readonly seeds?: readonly Seed[]
  /**
   * Builds the loss with `seeds`, for values of the model that depend on trained parameters; absent for losses that the
   * walk differentiates.
   */
  readonly withSeeds?: (active: ReadonlySet<Value>) => LossGraph
  /** Predictions with their targets, for metrics: by task, under '' if the loss has a single task. */
  readonly predictions?: ReadonlyMap<string, Comparison>
  /**
   * Loss against targets sampled from the model's own output distribution, for IRE's curvature (the Fisher diagonal,
   * arXiv 2405.20763), and the noise inputs that decide the sample. The sampled targets are constants of its gradient.
   * For target weights omega_i the gradient is sum_i sqrt(omega_i) g_i / sqrt(count weight), so that
   * E[count g^2] = sum_i omega_i E[g_i^2] / weight.
   */
  readonly sampled?: {
    readonly loss: Value
    /** As `seeds` of the loss. */
    readonly seeds?: readonly Seed[]
    readonly noise: ReadonlyMap<string, { readonly value: Value; readonly distribution: NoiseDistribution }>
  }
}

/** Decomposition of a loss into means with different divisors. */
export interface MeanTerms {
  /** Sum of the terms. A loss derived from it has another `loss`, which these terms do not describe. */
  readonly loss: Value
  /** Terms by task. */
  readonly terms: ReadonlyMap<string, MeanTerm>
}

/** One of the means whose sum is a loss. */
export interface MeanTerm {
  /** Mean times its factor in the sum. */
  readonly loss: Value
  /** Divisor of the mean; a float scalar. */
  readonly weight: Value
  /**
   * Contribution to the sampled loss, present if the loss has one: a sum over the targets of this term, divided by
   * sqrt(count weight), with the `count` of the whole loss.
   */
  readonly sampled?: Value
}

/**
 * Prediction with its target. `mask` is a bool per target, false for ignored targets; null if every target counts.
 */
export type Comparison =
  | {
      /** One of several classes, per example or position. */
      readonly kind: 'classes'
      /** Unnormalized scores; classes are along `axis`. */
      readonly logits: Value
      readonly axis: number
      /** Class numbers: int64, the logits' shape without the class axis. */
      readonly labels: Value
      readonly mask: Value | null
      /**
       * Predicted class and -log p[label] per target, of a loss that does not store the logits of all targets. Reading
       * `logits` would compute them again.
       */
      readonly results?: { readonly predicted: Value; readonly nll: Value }
    }
  | {
      /** Yes or no, per element. */
      readonly kind: 'binary'
      readonly logits: Value
      /** 0 or 1 (or between), with the type and shape of the logits. */
      readonly targets: Value
      readonly mask: Value | null
    }
  | {
      /** A sequence of labels per example, which steps spell with blanks between them; see `ctc`. */
      readonly kind: 'sequences'
      /** [N, T, C]. */
      readonly logits: Value
      /** int64 [N, L], padded with the blank. */
      readonly labels: Value
      readonly blank: number
      /** Numbers of steps and of labels that count: int64 [N]. */
      readonly inputLengths: Value
      readonly targetLengths: Value
      /** Number of examples that do not count, because their labels need more steps than they have: a float32 scalar. */
      readonly tooLong?: Value
    }
  | {
      /** Real numbers, element by element. */
      readonly kind: 'values'
      readonly output: Value
      readonly targets: Value
      readonly mask: Value | null
    }

/** Throws `invalid-option` for an option 'loss' that is not a loss. */
export function checkLoss(owner: string, loss: unknown): void {
  if (typeof (loss as Loss | undefined)?.build !== 'function')
    throw invalidOption(owner, 'loss', loss, 'a loss such as crossEntropy()')
}

/** Terms of exactly this loss; undefined for a single mean, or if `loss` was derived from the sum of the terms. */
export const meanTermsOf = ({ loss, meanTerms }: LossGraph): ReadonlyMap<string, MeanTerm> | undefined =>
  meanTerms?.loss === loss ? meanTerms.terms : undefined

/**
 * Finds the output a loss is computed from: the named one, or the only one. Throws `invalid-option` with their names.
 */
export function findOutput(outputs: ReadonlyMap<string, Value>, name: string | undefined, loss: string): Value {
  const value = name === undefined && outputs.size === 1 ? [...outputs.values()][0] : outputs.get(name ?? '')
  if (value) return value
  const available = [...outputs.keys()].map((output) => `'${output}'`).join(', ')
  throw new OnnxIreError(
    'invalid-option',
    name === undefined
      ? `${loss}: name one of the model's outputs: ${available}`
      : `${loss}: the model has no output '${name}'; it has ${available}`,
  )
}

/** Follows Identity nodes back to the value they copy. */
export function skipIdentity(value: Value): Value {
  let result = value
  while (result.source.kind === 'node' && result.source.operator === 'Identity') result = result.source.inputs[0]!
  return result
}

/** The argument of the function at the end of a model, in the shape and order of the output. */
export interface LastArgument {
  readonly argument: Value
  /** Axis of the output along which the function works, >= 0; undefined for element-wise functions. */
  readonly axis: number | undefined
}

/**
 * Finds the argument of the function that computes an output, if it is one of these operators; else returns undefined.
 * The output may be copied, cast to another floating-point type, or a view of the result of the function: the same view
 * of the argument is returned.
 */
export function findLastArgument(output: Value, operators: readonly string[]): LastArgument | undefined {
  const { source } = skipIdentity(output)
  const [x] = source.kind === 'node' ? source.inputs : []
  if (source.kind !== 'node' || !x) return undefined
  if (operators.includes(source.operator)) {
    const { axis } = source.attributes
    const rank = output.shape?.length
    if (axis === undefined) return { argument: x, axis: undefined }
    return rank === undefined ? undefined : { argument: x, axis: axisOf(axis as number, rank) }
  }
  const { view, random } = definitionOf(source.operator)
  if (view === undefined || random !== false || !isFloat(output.dtype) || !isFloat(x.dtype)) return undefined
  const last = findLastArgument(x, operators)
  if (!last || x.dtype !== output.dtype) return last
  const axis = last.axis === undefined ? undefined : followAxis(source, last.axis)
  if (axis === undefined && last.axis !== undefined) return undefined
  return { argument: cloneNode(source, new Map([[x, last.argument]]))[0]!, axis }
}

/** The function at the end of a model. */
interface LastFunction {
  readonly operator: string
  /** Axis of the output along which the function works, >= 0. */
  readonly axis: number
}

/**
 * Finds the function that computes an output along an axis, as `findLastArgument` does, if it is one of these operators,
 * also in the branches of an If, if it is the same in all, and before a mean of distributions over other axes; else
 * returns undefined.
 */
export function findLastFunction(output: Value, operators: readonly string[]): LastFunction | undefined {
  const { source, index, shape, dtype } = skipIdentity(output)
  if (source.kind !== 'node' || !isFloat(dtype)) return undefined
  const { operator, attributes, inputs } = source
  if (operators.includes(operator))
    return shape && { operator, axis: axisOf(attributes['axis'] as number, shape.length) }
  if (operator === 'If') {
    const found = bodiesOf(source).map(({ outputs }) => findLastFunction(outputs[index]!, operators))
    const [first, ...others] = found
    return others.every((other) => other?.operator === first?.operator && other?.axis === first?.axis)
      ? first
      : undefined
  }
  const { view, random } = definitionOf(operator)
  const isMean = operator === 'ReduceMean'
  const last = isMean || (view !== undefined && random === false) ? findLastFunction(inputs[0]!, operators) : undefined
  // A mean of logarithms is not the logarithm of a mean.
  if (isMean && last?.operator !== 'Softmax') return undefined
  const axis = last && (inputs[0]!.dtype === dtype ? followAxis(source, last.axis) : last.axis)
  return axis === undefined ? undefined : { ...last!, axis }
}

/** The axis of a view or mean with all elements along an axis of its input; undefined if there is none. */
function followAxis({ operator, attributes, inputs, outputs }: Node, axis: number): number | undefined {
  const from = inputs[0]!.shape
  const to = outputs[0]!.shape
  if (!from || !to) return undefined
  if (operator === 'Transpose') {
    const perm = attributes['perm'] as readonly number[] | undefined
    return perm ? perm.indexOf(axis) : from.length - 1 - axis
  }
  if (operator === 'ReduceMean') {
    const reduced = constantTensor(inputs[1])
    const axes = reduced && numbersOf(reduced).map((each) => axisOf(each, from.length))
    if (!axes || axes.includes(axis)) return undefined
    return attributes['keepdims'] ? axis : axis - axes.filter((each) => each < axis).length
  }
  const isSame = (at: number) => to[at] === from[axis]
  if (operator === 'Slice') return isSame(axis) ? axis : undefined
  if (definitionOf(operator).view !== 'reshaped') return undefined
  const following = productOf(from.slice(axis + 1))
  const found = to.findIndex((_, at) => isSame(at) && productOf(to.slice(at + 1)) === following)
  return found === -1 ? undefined : found
}

/** Casts half floats to float32: a sum over the positions of a batch can exceed float16's maximum of 65504. */
export const toFullPrecision = (x: Value): Value => (isHalf(x.dtype) ? op.Cast(x, { to: dtypes.float32.onnx }) : x)
