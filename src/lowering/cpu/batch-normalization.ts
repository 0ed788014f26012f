import { body } from '../../ir/body.js'
import { productOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { channelsOf } from '../../op/compose/statistics.js'
import type { AttributesOf } from '../../op/define.js'
import type { normalization } from '../../op/definitions/normalization.js'
import { op } from '../../op/op.js'
import { mapChannels } from './affine-map.js'
import { sumRowProducts } from './sums-of-products.js'

type Attributes = AttributesOf<(typeof normalization)['BatchNormalization']['attributes']>

/** Number of elements of an image from which several nodes are faster than onnxruntime's kernel. */
const minPositions = 700

/**
 * Ratio of a squared mean to the variance up to which E[x²] - E[x]² is exact enough: 24 bits less the 6 of this ratio.
 */
const maxOffset = 64

/** Whether `batchNormalization` computes a BatchNormalization: in training mode, of large images, in float32. */
export function hasParallelForm(
  inputs: readonly (Value | null)[],
  { training_mode }: Pick<Attributes, 'training_mode'>,
): boolean {
  const [x] = inputs
  if (!training_mode || !x?.shape || x.shape.length < 3 || typeof x.shape[1] !== 'number') return false
  const positions = productOf(x.shape.slice(2))
  return (
    inputs.every((value) => value?.dtype === 'float32') && typeof positions === 'number' && positions >= minPositions
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
  const batchMean = channelsOf(x).meanPerChannel(x)
  const batchVariance = varianceOf(x, batchMean, epsilon)
  const slope = op.Div(scale, op.Sqrt(op.Add(batchVariance, epsilon)))
  const y = mapChannels({ x, k: slope, b: op.Sub(bias, op.Mul(slope, batchMean)) })
  const updated = (old: Value, now: Value) =>
    momentum === 0 ? now : op.Add(op.Mul(old, momentum), op.Mul(now, 1 - momentum))
  return [y, updated(mean, batchMean), updated(variance, batchVariance)]
}

/**
 * Variance per channel: E[x²] - E[x]², which does not read x again after the mean, or E[(x - E[x])²] if a mean is large
 * compared with the deviation.
 */
function varianceOf(x: Value, mean: Value, epsilon: number): Value {
  const positions = productOf(x.shape!.slice(2)) as number
  const meanSquare = (of: Value) => {
    const perImage = sumRowProducts({ a: of, b: of, rowAxes: x.shape!.length - 2 }, false)
    return op.Mul(op.ReduceMean(perImage, [0], { keepdims: 0 }), 1 / positions)
  }
  const squaredMean = op.Mul(mean, mean)
  const difference = op.Sub(meanSquare(x), squaredMean)
  const excess = op.Sub(squaredMean, op.Mul(op.Add(difference, epsilon), maxOffset))
  return op.If(op.Greater(op.ReduceMax(excess, [0], { keepdims: 0 }), 0), {
    then_branch: body([], () => [meanSquare(op.Sub(x, channelsOf(x).column(mean)))]),
    else_branch: body([], () => [op.Max([difference, 0])]),
  })[0]!
}
