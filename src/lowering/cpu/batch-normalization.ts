import { body } from '../../ir/body.js'
import { productOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import type { AttributesOf } from '../../op/define.js'
import type { normalization } from '../../op/definitions/normalization.js'
import { op } from '../../op/op.js'
import { sumRowProducts } from './sums-of-products.js'

type Attributes = AttributesOf<(typeof normalization)['BatchNormalization']['attributes']>

/** Number of elements of an image from which several nodes are faster than onnxruntime's kernel. */
const MIN_POSITIONS = 700

/**
 * Ratio of a squared mean to the variance up to which E[x²] - E[x]² is exact enough: 24 bits less the 6 of this ratio.
 */
const MAX_OFFSET = 64

/** Whether `batchNormalization` computes a BatchNormalization: in training mode, of large images, in float32. */
export function hasParallelForm(
  inputs: readonly (Value | null)[],
  { training_mode }: Pick<Attributes, 'training_mode'>,
): boolean {
  const [x] = inputs
  if (!training_mode || !x?.shape || x.shape.length < 3 || typeof x.shape[1] !== 'number') return false
  const positions = productOf(x.shape.slice(2))
  return (
    inputs.every((value) => value?.dtype === 'float32') && typeof positions === 'number' && positions >= MIN_POSITIONS
  )
}

/**
 * BatchNormalization in training mode in nodes that onnxruntime's CPU provider runs in several threads; its kernel uses
 * one. A depthwise convolution of one element scales and shifts, with an activation that follows.
 */
export function batchNormalization(
  [x, scale, bias, mean, variance]: readonly [Value, Value, Value, Value, Value],
  { epsilon, momentum }: Attributes,
): [Value, Value, Value] {
  const spatial = x.shape!.slice(2)
  const batchMean = overImages(op.ReduceMean(x, axesOf(x), { keepdims: 0 }))
  const batchVariance = varianceOf(x, batchMean, epsilon)
  const slope = op.Div(scale, op.Sqrt(op.Add(batchVariance, epsilon)))
  const kernels = op.Unsqueeze(slope, [1, ...axesOf(x)])
  const y = op.Conv(x, kernels, op.Sub(bias, op.Mul(slope, batchMean)), {
    group: x.shape![1] as number,
    kernel_shape: spatial.map(() => 1),
  })
  const updated = (old: Value, now: Value) =>
    momentum === 0 ? now : op.Add(op.Mul(old, momentum), op.Mul(now, 1 - momentum))
  return [y, updated(mean, batchMean), updated(variance, batchVariance)]
}

/** The axes of positions in an image. */
const axesOf = ({ shape }: Value): number[] => shape!.slice(2).map((_, i) => i + 2)

/** Mean over images of numbers per image and channel: [C]. */
const overImages = (perImage: Value): Value => op.ReduceMean(perImage, [0], { keepdims: 0 })

/**
 * Variance per channel: E[x²] - E[x]², which does not read x again after the mean, or E[(x - E[x])²] if a mean is large
 * compared with the deviation.
 */
function varianceOf(x: Value, mean: Value, epsilon: number): Value {
  const positions = productOf(x.shape!.slice(2)) as number
  const meanSquare = (of: Value) =>
    op.Mul(overImages(sumRowProducts({ a: of, b: of, rowAxes: x.shape!.length - 2 }, false)), 1 / positions)
  const squaredMean = op.Mul(mean, mean)
  const difference = op.Sub(meanSquare(x), squaredMean)
  const excess = op.Sub(squaredMean, op.Mul(op.Add(difference, epsilon), MAX_OFFSET))
  return op.If(op.Greater(op.ReduceMax(excess, [0], { keepdims: 0 }), 0), {
    then_branch: body([], () => [
      meanSquare(
        op.Sub(
          x,
          op.Unsqueeze(
            mean,
            axesOf(x).map((axis) => axis - 1),
          ),
        ),
      ),
    ]),
    else_branch: body([], () => [op.Max([difference, 0])]),
  })[0]!
}
