import { isFloat } from '../ir/dtype.js'
import { input } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { findOutput, type Loss, type NoiseDistribution, toFullPrecision } from './loss.js'
import {
  countAndWeight,
  type LossWeightOptions,
  sampledMean,
  targetInputs,
  weighTargets,
  weightedMean,
} from './sample-weights.js'

/** Options of every regression loss. */
export interface RegressionOptions extends LossWeightOptions {
  /** Output of the model that is compared with the targets. Default: the only output. */
  readonly output?: string
  /** Name of the data's targets, with the type (float32 for half floats) and shape of the output. Default 'targets'. */
  readonly targets?: string
}

/** Options of `mse`. */
export interface MseOptions extends RegressionOptions {}

/**
 * Mean squared error over all elements, in the targets' unit squared:
 *
 *     l = e^2,   e = y - t
 *
 * Implied likelihood: exp(-e^2) up to a factor, a normal distribution around the output. IRE samples targets as the
 * output plus normal noise of variance 1/2, so that its curvature is the Gauss-Newton diagonal, 2 (dy)^2.
 *
 * @throws 'invalid-option' when built onto a model
 * @example
 * ```ts
 * mse({ output: 'price', targets: 'price' })
 * ```
 */
export const mse = (options: MseOptions = {}): Loss =>
  regressionLoss(
    {
      name: 'mse',
      value: (e) => op.Mul(e, e),
      distribution: 'normal',
      slope: (noise) => op.Mul(noise, Math.SQRT2), // 2 e at e = noise / sqrt 2
    },
    options,
  )

/** Options of `l1`. */
export interface L1Options extends RegressionOptions {}

/**
 * Mean absolute error over all elements, in the targets' unit, with slope 0 at e = 0:
 *
 *     l = |e|,   e = y - t
 *
 * Follows PyTorch's L1Loss (https://docs.pytorch.org/docs/stable/generated/torch.nn.L1Loss.html). Implied likelihood:
 * exp(-|e|) / 2, a Laplace distribution around the output. Only the sign of a sample decides the slope, so IRE samples
 * signs.
 *
 * @throws 'invalid-option' when built onto a model
 */
export const l1 = (options: L1Options = {}): Loss =>
  regressionLoss({ name: 'l1', value: (e) => op.Abs(e), distribution: 'sign', slope: (noise) => noise }, options)

/** Options of `huber`. */
export interface HuberOptions extends RegressionOptions {
  /** Size of an error, in the targets' unit, above which the loss is linear; > 0. Default 1. */
  readonly delta?: number
}

/**
 * Huber loss averaged over all elements:
 *
 *     l = e^2 / 2                      if |e| <= delta,   e = y - t
 *         delta (|e| - delta / 2)      else
 *
 * Follows PyTorch's HuberLoss (https://docs.pytorch.org/docs/stable/generated/torch.nn.HuberLoss.html). Implied
 * likelihood: exp(-l) up to a factor, normal in the middle with exponential tails; IRE samples from exactly that
 * (`Random.huber`).
 *
 * @throws 'invalid-option'
 */
export function huber(options: HuberOptions = {}): Loss {
  const { delta = 1 } = options
  if (!(delta > 0 && Number.isFinite(delta))) throw invalidOption('huber', 'delta', delta, 'a number > 0')
  return regressionLoss(
    {
      name: 'huber',
      // With c = e clipped to [-delta, delta] both branches are c (e - c / 2), and the slope is c.
      value: (e) => {
        const c = op.Clip(e, -delta, delta)
        return op.Mul(c, op.Sub(e, op.Mul(c, 0.5)))
      },
      distribution: { huber: delta },
      slope: (noise) => op.Clip(noise, -delta, delta),
    },
    options,
  )
}

/**
 * Loss of the error e = y - t of every element; its implied likelihood of t has density exp(-value(e)) up to a factor.
 */
interface ErrorLoss {
  readonly name: string
  /** Loss of every element. */
  value(error: Value): Value
  /** Distribution of the noise that decides a sample of e from the implied likelihood. */
  readonly distribution: NoiseDistribution
  /** Slope of the loss at the sample of e that `noise` decides. */
  slope(noise: Value): Value
}

/** Builds a loss of errors, averaged over all elements that are not ignored. */
const regressionLoss = ({ name: loss, value, distribution, slope }: ErrorLoss, options: RegressionOptions): Loss => ({
  name: loss,
  build(outputs) {
    const { targets: name = 'targets' } = options
    const y = toFullPrecision(findOutput(outputs, options.output, loss))
    if (!isFloat(y.dtype))
      throw new OnnxIreError('invalid-option', `${loss}: the output is ${y.dtype}; it must be floating-point`)
    const given = input(name, y.dtype, y.shape)
    const weighting = weighTargets(given, y, options, loss)
    const { mask } = weighting
    const targets = mask ? op.Where(mask, given, 0) : given // ignored targets may be NaN
    const noise = input(`noise/${name}`, y.dtype, y.shape)
    return {
      loss: weightedMean(value(op.Sub(y, targets)), weighting),
      targets: targetInputs(given, weighting, loss),
      ...countAndWeight(weighting),
      predictions: new Map([['', { kind: 'values', output: y, targets, mask }]]),
      sampled: {
        // With t = y - e held constant the gradient is slope(e) dy, the gradient of slope(e) y.
        loss: sampledMean(op.Mul(slope(noise), y), weighting),
        noise: new Map([[noise.name!, { value: noise, distribution }]]),
      },
    }
  },
})
