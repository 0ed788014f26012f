import { isFloat } from '../ir/dtype.js'
import { constant, input, tensorFrom } from '../ir/leaf.js'
import { formatShape } from '../ir/shape.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { checkNames, invalidOption } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { findOutput, type Loss, toFullPrecision } from './loss.js'
import { countAndWeight, targetInputs, weighTargets, weightedMean } from './sample-weights.js'

/** Options of `ssim`. */
export interface SsimOptions {
  /** Output of the model with the images, [N, C, H, W]. Default: the only output. */
  readonly output?: string
  /** Name of the data's images, with the type (float32 for half floats) and shape of the output. Default 'targets'. */
  readonly targets?: string
  /** Difference between the largest and the smallest value of a pixel: 1, or 255, or 2 for [-1, 1]. Default 1. */
  readonly range?: number
  /** Name of the data's weights of examples, [N]. Default: none. */
  readonly sampleWeights?: string
}

/** Side of the window. */
const windowSide = 11
/** Standard deviation of the window, in pixels. */
const windowSigma = 1.5

/**
 * 1 - SSIM, the structural similarity of images (Wang et al. 2004, doi 10.1109/TIP.2003.819861), averaged over the
 * positions of a Gaussian window of 11 x 11 pixels and sigma 1.5 that lie in the image, over channels and examples:
 *
 *     l = 1 - (2 mu_y mu_t + C1) (2 s_yt + C2) / ((mu_y^2 + mu_t^2 + C1) (s_y^2 + s_t^2 + C2))
 *
 * with the weighted means mu, variances s^2 and covariance s_yt of output and target in the window, C1 = (0.01 range)^2
 * and C2 = (0.03 range)^2. It is no log-likelihood: IRE needs `curvature: 'hutchinson'` or 'empirical'.
 *
 * @throws OnnxIreError `invalid-option`; when built onto a model also `invalid-shape`
 * @example
 * ```ts
 * ssim({ output: 'image', targets: 'sharp', range: 255 })
 * ```
 */
export function ssim(options: SsimOptions = {}): Loss {
  checkNames('ssim', options, ['output', 'targets', 'range', 'sampleWeights'])
  const { output, targets: name = 'targets', range = 1, sampleWeights } = options
  if (!(range > 0 && Number.isFinite(range))) throw invalidOption('ssim', 'range', range, 'a number > 0')
  return {
    name: 'ssim',
    build(outputs) {
      const y = toFullPrecision(findOutput(outputs, output, 'ssim'))
      const channels = checkImages(y)
      const t = input(name, y.dtype, y.shape)
      const blur = createBlur(channels, y)
      const [meanY, meanT] = [blur(y), blur(t)]
      const product = op.Mul(meanY, meanT)
      const squares = op.Add(op.Mul(meanY, meanY), op.Mul(meanT, meanT))
      // Variances and covariance are weighted means of products, less the products of the means.
      const covariance = op.Sub(blur(op.Mul(y, t)), product)
      const variances = op.Sub(blur(op.Add(op.Mul(y, y), op.Mul(t, t))), squares)
      const [c1, c2] = [(0.01 * range) ** 2, (0.03 * range) ** 2]
      const twice = (x: Value) => op.Mul(x, 2)
      const above = op.Mul(op.Add(twice(product), c1), op.Add(twice(covariance), c2))
      const below = op.Mul(op.Add(squares, c1), op.Add(variances, c2))
      const losses = op.Sub(1, op.ReduceMean(op.Div(above, below), [1, 2, 3], { keepdims: 0 }))
      // One element per example, from the data alone.
      const examples = op.ReduceMean(t, [1, 2, 3], { keepdims: 0 })
      const weighting = weighTargets(examples, y, sampleWeights === undefined ? {} : { sampleWeights }, 'ssim')
      return {
        loss: weightedMean(losses, weighting),
        targets: targetInputs(t, weighting, 'ssim'),
        ...countAndWeight(weighting),
        predictions: new Map([['', { kind: 'values', output: y, targets: t, mask: null }]]),
      }
    },
  }
}

/** Returns the number of channels. Throws for an output that is not [N, C, H, W], or too small for the window. */
function checkImages({ dtype, shape }: Value): number {
  if (!isFloat(dtype))
    throw new OnnxIreError('invalid-option', `ssim: the output is ${dtype}; it must be floating-point`)
  const [, channels, ...sides] = shape ?? []
  if (shape?.length !== 4 || typeof channels !== 'number')
    throw new OnnxIreError(
      'invalid-shape',
      `ssim: the output has the shape ${formatShape(shape)}; it must be [N, C, H, W] with a fixed number of channels`,
    )
  if (sides.some((side) => typeof side === 'number' && side < windowSide))
    throw new OnnxIreError(
      'invalid-shape',
      `ssim: the output has the shape ${formatShape(shape)}; height and width must be at least ${windowSide}, the side of the window`,
    )
  return channels
}

/** Creates the weighted mean over every window of every channel: along one axis, then along the other. */
function createBlur(channels: number, { dtype }: Value): (x: Value) => Value {
  const weights = Array.from({ length: windowSide }, (_, i) =>
    Math.exp(-((i - (windowSide - 1) / 2) ** 2) / (2 * windowSigma ** 2)),
  )
  const sum = weights.reduce((a, b) => a + b, 0)
  const elements = Array.from({ length: channels }, () => weights.map((w) => w / sum)).flat()
  const filter = (dims: readonly number[]) => constant(tensorFrom(dtype as 'float32' | 'float64', dims, elements))
  const [vertical, horizontal] = [filter([channels, 1, windowSide, 1]), filter([channels, 1, 1, windowSide])]
  return (x) => op.Conv(op.Conv(x, vertical, { group: channels }), horizontal, { group: channels })
}
