import { isFloat } from '../ir/dtype.js'
import { constant, input, tensorFrom } from '../ir/leaf.js'
import { formatShape } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import {
  findLastArgument,
  findOutput,
  type Loss,
  type NoiseDistribution,
  skipIdentity,
  toFullPrecision,
} from './loss.js'
import {
  checkLossNames,
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
 * @throws OnnxIreError `invalid-option` when built onto a model
 * @example
 * ```ts
 * mse({ output: 'price', targets: 'price' })
 * ```
 */
export const mse = (options: MseOptions = {}): Loss =>
  regressionLoss('mse', options, [], () =>
    errorLoss({
      value: (e) => op.Mul(e, e),
      distribution: 'normal',
      slope: (noise) => op.Mul(noise, Math.SQRT2), // 2 e at e = noise / sqrt 2
    }),
  )

/** Options of `l1`. */
export interface L1Options extends RegressionOptions {}

/**
 * Mean absolute error over all elements, in the targets' unit, with slope 0 at e = 0:
 *
 *     l = |e|,   e = y - t
 *
 * Follows PyTorch's L1Loss (https://docs.pytorch.org/docs/stable/generated/torch.nn.L1Loss.html). Implied likelihood:
 * exp(-|e|) / 2, a Laplace distribution around the output. The slope depends on the sign of a sample only, so IRE
 * samples signs.
 *
 * @throws OnnxIreError `invalid-option` when built onto a model
 */
export const l1 = (options: L1Options = {}): Loss =>
  regressionLoss('l1', options, [], () =>
    errorLoss({ value: (e) => op.Abs(e), distribution: 'sign', slope: (noise) => noise }),
  )

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
 * @throws OnnxIreError `invalid-option`
 */
export const huber = (options: HuberOptions = {}): Loss =>
  regressionLoss('huber', options, ['delta'], ({ delta = 1 }) => {
    if (!(delta > 0 && Number.isFinite(delta))) throw invalidOption('huber', 'delta', delta, 'a number > 0')
    return errorLoss({
      // With c = e clipped to [-delta, delta] both branches are c (e - c / 2), and the slope is c.
      value: (e) => {
        const c = op.Clip(e, -delta, delta)
        return op.Mul(c, op.Sub(e, op.Mul(c, 0.5)))
      },
      distribution: { huber: delta },
      slope: (noise) => op.Clip(noise, -delta, delta),
    })
  })

/** Options of `quantile`. */
export interface QuantileOptions extends RegressionOptions {
  /**
   * Quantile q in (0, 1) that the output predicts, or one per element of the last axis of the output. Default 0.5, the
   * median.
   */
  readonly quantile?: number | readonly number[]
}

/**
 * Quantile (pinball) loss averaged over all elements, whose minimum is the q-quantile of the targets:
 *
 *     l = (1 - q) e      if e >= 0,   e = y - t
 *         -q e           else
 *
 * Implied likelihood: exp(-l) up to a factor, an asymmetric Laplace distribution in which the target lies below the
 * output with probability q. The slope depends on the side only, so IRE samples sides.
 *
 * @throws OnnxIreError `invalid-option`
 * @example
 * ```ts
 * quantile({ quantile: [0.1, 0.5, 0.9] }) // for an output and targets [N, 3]
 * ```
 */
export const quantile = (options: QuantileOptions = {}): Loss =>
  regressionLoss('quantile', options, ['quantile'], ({ quantile: q = 0.5 }) => {
    for (const [i, each] of [q].flat().entries())
      if (!(each > 0 && each < 1))
        throw invalidOption('quantile', Array.isArray(q) ? `quantile[${i}]` : 'quantile', each, 'a number in (0, 1)')
    const shares = (y: Value) => constant(tensorFrom(y.dtype, typeof q === 'number' ? [] : [q.length], [q].flat()))
    return {
      // |e| / 2 + (1/2 - q) e
      value: (y, t) => {
        checkQuantiles(q, y)
        const e = op.Sub(y, t)
        return op.Add(op.Mul(op.Abs(e), 0.5), op.Mul(op.Sub(0.5, shares(y)), e))
      },
      distribution: 'uniform',
      sampled: (noise, y) => op.Mul(op.Sub(op.CastLike(op.Less(noise, shares(y)), y), shares(y)), y),
    }
  })

function checkQuantiles(q: number | readonly number[], { shape }: Value): void {
  const last = shape?.at(-1)
  if (typeof q === 'number' || (typeof last === 'string' && shape!.length > 0) || last === q.length) return
  throw new OnnxIreError(
    'invalid-option',
    `quantile: option 'quantile' has ${q.length} numbers, but the output has the shape ${formatShape(shape)}: give one number, or one per element of the last axis`,
  )
}

/** Options of `charbonnier`. */
export interface CharbonnierOptions extends RegressionOptions {
  /** Size of an error, in the targets' unit, below which the loss is quadratic; > 0. Default 0.001. */
  readonly epsilon?: number
}

/**
 * Charbonnier loss averaged over all elements, a smooth form of the absolute error for images:
 *
 *     l = sqrt(e^2 + epsilon^2),   e = y - t
 *
 * Implied likelihood: exp(-l) up to a factor, a symmetric hyperbolic distribution around the output. IRE samples signs,
 * times the root of the mean squared slope under this distribution.
 *
 * @throws OnnxIreError `invalid-option`
 */
export const charbonnier = (options: CharbonnierOptions = {}): Loss =>
  regressionLoss('charbonnier', options, ['epsilon'], ({ epsilon = 1e-3 }) => {
    if (!(epsilon > 0 && Number.isFinite(epsilon)))
      throw invalidOption('charbonnier', 'epsilon', epsilon, 'a number > 0')
    const slope = Math.sqrt(meanSquaredSlope(epsilon))
    return errorLoss({
      value: (e) => op.Sqrt(op.Add(op.Mul(e, e), epsilon ** 2)),
      distribution: 'sign',
      slope: (noise) => op.Mul(noise, slope),
    })
  })

/**
 * Mean of e^2 / (e^2 + epsilon^2) under the density exp(-sqrt(e^2 + epsilon^2)), by the trapezoidal rule in u with e =
 * epsilon sinh(u), where the integrand falls doubly exponentially.
 */
function meanSquaredSlope(epsilon: number): number {
  const end = Math.acosh(1 + 50 / epsilon)
  const steps = 1000
  let [mass, squares] = [0, 0]
  for (let i = 0; i <= steps; i++) {
    const u = (end * i) / steps
    const density = (i === 0 ? 0.5 : 1) * Math.exp(epsilon * (1 - Math.cosh(u))) * Math.cosh(u)
    mass += density
    squares += density * Math.tanh(u) ** 2
  }
  return squares / mass
}

/** Options of `poisson`. */
export interface PoissonOptions extends LossWeightOptions {
  /** Output of the model with the log rates. A trailing Exp is recognized and bypassed. Default: the only output. */
  readonly output?: string
  /** Name of the data's counts: floats >= 0 with the shape of the output. Default 'targets'. */
  readonly targets?: string
}

/**
 * Negative log-likelihood of counts t under Poisson distributions with log rates z, without the constant log t!:
 *
 *     l = exp(z) - t z
 *
 * averaged over all elements. Follows PyTorch's PoissonNLLLoss
 * (https://docs.pytorch.org/docs/stable/generated/torch.nn.PoissonNLLLoss.html). Metrics compare the rates with the
 * counts. IRE samples signs times exp(z / 2), which have the variance of a count.
 *
 * @throws OnnxIreError `invalid-option` when built onto a model
 */
export const poisson = (options: PoissonOptions = {}): Loss =>
  regressionLoss('poisson', options, [], () => ({
    find: skipExp,
    value: (z, t) => op.Sub(op.Exp(z), op.Mul(t, z)),
    predict: (z) => op.Exp(z),
    distribution: 'sign',
    // The gradient of 2 s exp(z / 2) is s exp(z / 2).
    sampled: (noise, z) => op.Mul(noise, op.Mul(op.Exp(op.Mul(z, 0.5)), 2)),
  }))

const skipExp = (output: Value): Value => findLastArgument(output, ['Exp'])?.argument ?? skipIdentity(output)

/** Loss of every element of an output y, by its target t. */
interface ElementLoss {
  /** Finds the value y that the output is computed from. Default: the output. */
  find?(output: Value): Value
  value(y: Value, t: Value): Value
  /** Prediction of the target, for metrics. Default y. */
  predict?(y: Value): Value
  /** Distribution of the noise that decides a sample of the target from the implied likelihood. */
  readonly distribution: NoiseDistribution
  /** Values whose gradients by y have the distribution, or at least the variance, of those of sampled targets. */
  sampled(noise: Value, y: Value): Value
}

/**
 * Loss of the error e = y - t of every element; its implied likelihood of t has density exp(-value(e)) up to a factor.
 */
interface ErrorLoss extends Pick<ElementLoss, 'distribution'> {
  value(error: Value): Value
  /** Slope of the loss at the sample of e that `noise` decides. */
  slope(noise: Value): Value
}

const errorLoss = ({ value, distribution, slope }: ErrorLoss): ElementLoss => ({
  value: (y, t) => value(op.Sub(y, t)),
  distribution,
  // With t = y - e held constant the gradient is slope(e) dy, the gradient of slope(e) y.
  sampled: (noise, y) => op.Mul(slope(noise), y),
})

/**
 * Builds a loss of elements, averaged over all that are not ignored.
 * @param own names of its options besides those of `RegressionOptions`
 * @param define defines it by its options, whose names are checked before
 */
function regressionLoss<Options extends RegressionOptions>(
  loss: string,
  options: Options,
  own: readonly (keyof Options & string)[],
  define: (options: Options) => ElementLoss,
): Loss {
  checkLossNames(loss, options, ['output', 'targets', ...own])
  const { find = (output) => output, value, predict = (y) => y, distribution, sampled } = define(options)
  return {
    name: loss,
    build(outputs) {
      const { targets: name = 'targets' } = options
      const y = toFullPrecision(find(findOutput(outputs, options.output, loss)))
      if (!isFloat(y.dtype))
        throw new OnnxIreError('invalid-option', `${loss}: the output is ${y.dtype}; it must be floating-point`)
      const given = input(name, y.dtype, y.shape)
      const weighting = weighTargets(given, y, options, loss)
      const { mask } = weighting
      const targets = mask ? op.Where(mask, given, 0) : given // ignored targets may be NaN
      const noise = input(`noise/${name}`, y.dtype, y.shape)
      return {
        loss: weightedMean(value(y, targets), weighting),
        targets: targetInputs(given, weighting, loss),
        ...countAndWeight(weighting),
        predictions: new Map([['', { kind: 'values', output: predict(y), targets, mask }]]),
        sampled: {
          loss: sampledMean(sampled(noise, y), weighting),
          noise: new Map([[noise.name!, { value: noise, distribution }]]),
        },
      }
    },
  }
}
