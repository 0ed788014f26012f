import { isStatic, productOf } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { swapFirst } from '../../op/compose/shape.js'
import { channelsOf } from '../../op/compose/statistics.js'
import { op } from '../../op/op.js'

/*
 * Gradients of a pointwise convolution z = W x followed by BatchNormalization in training mode, without a pass over z.
 * With the gradient dy of the result, sums per channel o of z need products of few numbers only, because z is linear
 * in x. With x' = x - mean(x):
 *   G = dy x'^T, sum(dy (z - mean)) = rows of sum(W G), C = x' x'^T,
 *   dz = a (dy - s - k W x') with numbers a, s, k per channel (see `batchNormalizationTraining`),
 *   dW = dz x^T = a (G - k W C), dx = W^T dz = (a W)^T (dy - s) - (a W)^T (k W) x'.
 */

/** A pointwise convolution that a gradient of this form is faster for. */
interface Product {
  readonly x: Value
  /** [outputs, channels] */
  readonly w: Value
  /** Mean of x: [channels]. */
  readonly mean: Value
}

// Thresholds were measured on onnxruntime's CPU provider.

/** Number of positions per image above which an image is large. One product over all images is then slower. */
const maxSmallImage = 512

/**
 * Largest ratio of squared channels, to which the time of the products of x with itself is proportional, to outputs, to
 * which the time of passes over z is proportional. Those over small images are fast.
 */
const maxChannelsSquaredPerOutput = { small: 16, large: 32 }

const isLarge = (x: Value): boolean => {
  const positions = productOf(x.shape!.slice(2))
  return typeof positions !== 'number' || positions > maxSmallImage
}

/** The pointwise convolution that computes `z`; undefined if the usual gradient is faster, or for another operator. */
export function productThatGives({ source }: Value): Product | undefined {
  if (source.kind !== 'node' || source.operator !== 'Conv' || source.domain !== '') return undefined
  const [x, w, bias] = source.inputs as readonly [Value, Value, Value | null | undefined]
  const { group, auto_pad, ...windows } = source.attributes as unknown as {
    readonly group: number
    readonly auto_pad: string
    readonly strides?: readonly number[]
    readonly pads?: readonly number[]
  }
  if (bias || group !== 1 || w.dtype !== 'float32' || !isStatic(w.shape) || !x.shape) return undefined
  const [outputs, channels, ...kernel] = w.shape as readonly [number, number, ...number[]]
  const unit = [...kernel, ...(windows.strides ?? [])].every((length) => length === 1)
  if (!unit || auto_pad.startsWith('SAME') || windows.pads?.some((pad) => pad !== 0)) return undefined
  const most = maxChannelsSquaredPerOutput[isLarge(x) ? 'large' : 'small']
  if (channels ** 2 > most * outputs) return undefined
  return { x, w: op.Reshape(w, [outputs, channels]), mean: channelsOf(x).meanPerChannel(x) }
}

/** G: sum over images and positions of dy (x - mean)^T, where `dSum` is the sum of dy per channel. */
export const centeredProduct = (dy: Value, dSum: Value, { x, w, mean }: Product): Value =>
  op.Sub(sumOfProducts(dy, w.shape![0] as number, x, w.shape![1] as number), op.Mul(column(dSum), mean))

/** Sum over images and positions of a b^T: [N, m, ...] and [N, c, ...] give [m, c]. */
function sumOfProducts(a: Value, m: number, b: Value, c: number): Value {
  if (!isLarge(b)) return op.Gemm(op.Reshape(swapFirst(a), [m, -1]), op.Reshape(swapFirst(b), [c, -1]), { transB: 1 })
  const transposed = op.Transpose(op.Reshape(b, [0, c, -1]), { perm: [0, 2, 1] })
  return op.ReduceSum(op.MatMul(op.Reshape(a, [0, m, -1]), transposed), [0], { keepdims: 0 })
}

const column = (perChannel: Value): Value => op.Unsqueeze(perChannel, [1])

/** dz = slope (dy - dMean - pull (z - mean)) with numbers per channel, in terms of the product that gives z. */
interface NormalizedGradient {
  readonly product: Product
  readonly dy: Value
  /** a */
  readonly slope: Value
  /** s */
  readonly dMean: Value
  /** k */
  readonly pull: Value
  /** G */
  readonly centered: Value
  /** Number of elements per channel. */
  readonly count: Value
}

const normalizedGradients = new WeakMap<Value, NormalizedGradient>()

/** Lets the rule of the convolution compute its gradients from the terms of `dz`, which is then not computed. */
export const setNormalizedGradient = (dz: Value, terms: NormalizedGradient): void => {
  normalizedGradients.set(dz, terms)
}

/** dx and dw of a pointwise convolution whose result has the gradient `dz`; undefined if its terms are unknown. */
export function gradientsOfProduct(dz: Value, weights: Value): readonly [dx: Value, dw: Value] | undefined {
  const terms = normalizedGradients.get(dz)
  if (!terms) return undefined
  const { product, dy, slope, dMean, pull, centered, count } = terms
  const { x, w, mean } = product
  const scaled = op.Mul(w, column(slope))
  const pulled = op.Mul(w, column(pull))
  const feedback = op.Gemm(op.Neg(scaled), pulled, { transA: 1 })
  const shift = op.Neg(op.Add(op.MatMul(feedback, mean), op.MatMul(dMean, scaled)))
  const [outputs, channels, ...ones] = weights.shape as readonly [number, number, ...number[]]
  const kernels = op.Reshape(op.Transpose(scaled, { perm: [1, 0] }), [channels, outputs, ...ones])
  const dx = op.Add(op.Conv(dy, kernels, shift), op.Conv(x, op.Reshape(feedback, [channels, channels, ...ones])))
  const covariance = op.Sub(sumOfProducts(x, channels, x, channels), op.Mul(column(op.Mul(mean, count)), mean))
  const dw = op.Mul(op.Sub(centered, op.MatMul(pulled, covariance)), column(slope))
  return [dx, op.Reshape(dw, [outputs, channels, ...ones])]
}
