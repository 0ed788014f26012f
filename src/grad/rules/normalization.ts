import type { Value } from '../../ir/value.js'
import { castLike, channelsOf, divideByCount, share, standardize } from '../../op/compose/statistics.js'
import type { normalization } from '../../op/definitions/normalization.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import { sumTo } from '../broadcast.js'
import type { Rules } from '../rule.js'
import { centeredProduct, productThatGives, setNormalizedGradient } from './normalized-product.js'

/** Axes from `axis` to the last, as negative numbers. Throws `not-differentiable` if they are unknown. */
function axesFrom(axis: number, x: Value): number[] {
  const first = axis >= 0 && x.shape ? axis - x.shape.length : axis
  if (first >= 0)
    throw new OnnxIreError(
      'not-differentiable',
      `no gradient for a normalization from axis ${axis} of a tensor of unknown rank; declare the shape of the model's input`,
    )
  return Array.from({ length: -first }, (_, i) => first + i)
}

export const normalizationRules = {
  BatchNormalization: ([x, scale, , mean, variance], dys, { y, attributes }) =>
    attributes.training_mode
      ? batchNormalizationTraining(x, scale, mean, variance, dys, y, attributes)
      : batchNormalizationFrozen(x, scale, mean, variance, dys[0]!, attributes.epsilon),

  // y = x̂ scale + bias with x̂ = (x - mean) r, r = 1 / sqrt(var + epsilon):
  // dx = r (g - mean(g) - x̂ mean(g x̂)) with g = dy scale, dscale = sum(dy x̂), dbias = sum(dy).
  // The outputs mean and r add dmean / n and -dr r² x̂ / n to dx, where n is the number of normalized elements.
  LayerNormalization: (
    [x, scale, bias],
    [dy, dMean, dInvStd],
    { y: [, mean, invStdDev], attributes: { axis, epsilon } },
  ) => {
    const axes = axesFrom(axis, x)
    // float16 is computed in the type of the statistics. float64 recomputes them: onnxruntime saves them as float32.
    const work = x.dtype === 'float64' ? x : castLike(x, mean)
    const saved = work.dtype === mean.dtype
    const { xhat, invStd } = saved
      ? { xhat: op.Mul(op.Sub(work, mean), invStdDev), invStd: invStdDev }
      : standardize(work, axes, epsilon)
    const incoming = dy && castLike(dy, work)
    const terms = [
      incoming && standardizedGradient(xhat, invStd, op.Mul(incoming, castLike(scale, work)), axes),
      dMean && op.Div(castLike(dMean, work), share(work, mean)),
      dInvStd &&
        op.Neg(op.Mul(op.Mul(op.Mul(invStd, invStd), xhat), op.Div(castLike(dInvStd, work), share(work, mean)))),
    ].filter((term) => term !== null)
    const dx =
      terms.length === 1 && !incoming && dMean
        ? op.Expand(terms[0]!, op.Shape(x))
        : terms.reduce((sum, term) => op.Add(sum, term))
    return [
      castLike(dx, x),
      incoming && castLike(sumTo(op.Mul(incoming, xhat), scale), scale),
      bias && incoming && castLike(sumTo(incoming, bias), bias),
    ]
  },

  // y = x̂ scale with x̂ = x r, r = 1 / sqrt(mean(x²) + epsilon):
  // dx = r (g - x̂ mean(g x̂)) with g = dy scale, dscale = sum(dy x̂).
  RMSNormalization: ([x, scale], dy, { attributes: { axis, epsilon } }) => {
    const axes = axesFrom(axis, x)
    const mean = (of: Value) => op.ReduceMean(of, axes, { keepdims: 1 })
    const incoming = castLike(dy, x)
    const r = op.Reciprocal(op.Sqrt(op.Add(mean(op.Mul(x, x)), epsilon)))
    const xhat = op.Mul(x, r)
    const g = op.Mul(incoming, castLike(scale, x))
    const dx = op.Mul(r, op.Sub(g, op.Mul(xhat, mean(op.Mul(g, xhat)))))
    return [dx, castLike(sumTo(op.Mul(incoming, xhat), scale), scale)]
  },

  // As LayerNormalization, over the spatial axes, with one scale per channel.
  InstanceNormalization: ([x, scale], dy, { attributes: { epsilon } }) => {
    const { flat, restored, column, spatial, perChannel } = channelsOf(x)
    const { xhat, invStd } = standardize(flat(x), spatial, epsilon)
    const dx = standardizedGradient(xhat, invStd, op.Mul(flat(dy), column(scale)), spatial)
    return [restored(dx), perChannel(op.Mul(flat(dy), xhat)), perChannel(flat(dy))]
  },

  // As LayerNormalization, over the channels of a group and the spatial axes, with one scale per channel.
  GroupNormalization: ([x, scale], dy, { attributes: { epsilon, num_groups } }) => {
    const { flat, column, perChannel } = channelsOf(x)
    const grouped = (t: Value) => op.Reshape(t, [0, num_groups, -1])
    const { xhat, invStd } = standardize(grouped(x), [2], epsilon)
    const dx = standardizedGradient(xhat, invStd, grouped(op.Mul(flat(dy), column(castLike(scale, x)))), [2])
    const xhatPerChannel = op.Reshape(xhat, op.Shape(flat(x)))
    return [
      op.Reshape(dx, op.Shape(x)),
      castLike(perChannel(op.Mul(flat(dy), xhatPerChannel)), scale),
      castLike(perChannel(flat(dy)), scale),
    ]
  },

  // y = x / |x|_p: dx = (dy - s sum(dy y)) / |x|_p with s = d|x|_p / dx, which is sign(x) for p = 1 and y for p = 2. y and
  // dx are 0 if every x is 0.
  LpNormalization: ([x], dy, { y, attributes: { axis, p } }) => {
    const norm = p === 1 ? op.ReduceL1(x, [axis], { keepdims: 1 }) : op.ReduceL2(x, [axis], { keepdims: 1 })
    const along = op.Mul(p === 1 ? op.Sign(x) : y, op.ReduceSum(op.Mul(dy, y), [axis], { keepdims: 1 }))
    const isZero = op.Equal(norm, 0)
    return [op.Where(isZero, 0, op.Div(op.Sub(dy, along), op.Where(isZero, 1, norm)))]
  },
} satisfies Rules<typeof normalization>

/** Gradient of x̂ = (x - mean(x)) invStd: dx = invStd (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)). */
function standardizedGradient(xhat: Value, invStd: Value, dxhat: Value, axes: readonly number[]): Value {
  const mean = (x: Value) => op.ReduceMean(x, axes, { keepdims: 1 })
  return op.Mul(invStd, op.Sub(op.Sub(dxhat, mean(dxhat)), op.Mul(xhat, mean(op.Mul(dxhat, xhat)))))
}

type BatchNormalizationGradients = readonly [
  dx: Value | null,
  dScale: Value | null,
  dBias: Value | null,
  dMean: Value | null,
  dVariance: Value | null,
]

/**
 * Gradients of y = (x - mean) scale / std + bias with std = sqrt(var + epsilon), where mean and var are inputs:
 * dx = dy scale / std, dscale = (sum(dy x) - mean dbias) / std, dbias = sum(dy), dmean = -dbias scale / std,
 * dvar = -dscale scale / (2 (var + epsilon)).
 */
function batchNormalizationFrozen(
  x: Value,
  scale: Value,
  mean: Value,
  variance: Value,
  dy: Value,
  epsilon: number,
): BatchNormalizationGradients {
  const { flat, restored, column, perChannel } = channelsOf(x)
  const spread = op.Add(variance, epsilon)
  const std = op.Sqrt(spread)
  const slope = op.Div(castLike(scale, variance), std)
  const dx = op.Mul(flat(dy), column(castLike(slope, x)))
  const dBias = castLike(perChannel(flat(dy)), variance)
  const along = castLike(perChannel(op.Mul(flat(dy), flat(x))), variance)
  const dScale = op.Div(op.Sub(along, op.Mul(mean, dBias)), std)
  const dVariance = op.Div(op.Mul(op.Mul(dScale, castLike(scale, variance)), -0.5), spread)
  return [restored(dx), castLike(dScale, scale), castLike(dBias, scale), op.Neg(op.Mul(dBias, slope)), dVariance]
}

/**
 * Gradients of BatchNormalization in training mode, where mean and variance depend on x: dx = scale / std (dy -
 * sum(dy) / n - c sum(dy c) / (n std^2)) with c = x - mean, written without c, whose computation takes a pass over x.
 * The running statistics momentum * old + (1 - momentum) * batch pass their gradients to the old ones and to x. With
 * momentum 0 they equal those of the batch, which are then not computed again.
 */
function batchNormalizationTraining(
  x: Value,
  scale: Value,
  mean: Value,
  variance: Value,
  [dy, dRunningMean, dRunningVar]: readonly [Value | null, Value | null, Value | null],
  [, runningMean, runningVar]: readonly [Value, Value, Value],
  { epsilon, momentum }: { readonly epsilon: number; readonly momentum: number },
): BatchNormalizationGradients {
  const { flat, restored, column, perChannel, meanPerChannel } = channelsOf(x)
  const product = momentum === 0 && dy && !dRunningMean && !dRunningVar ? productThatGives(x) : undefined
  const n = product ? share(product.x, product.mean) : share(x, scale)
  const batchMean = momentum === 0 ? castLike(runningMean, x) : meanPerChannel(flat(x))
  const centered = op.Sub(flat(x), column(batchMean))
  const batchVar = momentum === 0 ? castLike(runningVar, x) : meanPerChannel(op.Mul(centered, centered))
  const invStd = op.Reciprocal(op.Sqrt(op.Add(batchVar, epsilon)))
  const incoming = dy && flat(dy)
  const dBias = incoming && perChannel(incoming)
  const products = product && centeredProduct(incoming!, dBias!, product)
  const along =
    incoming &&
    (products
      ? op.ReduceSum(op.Mul(products, product!.w), [1], { keepdims: 0 })
      : op.Sub(perChannel(op.Mul(incoming, flat(x))), op.Mul(batchMean, dBias!)))
  const pull = along && divideByCount(op.Mul(along, op.Mul(invStd, invStd)), n)
  const slope = op.Mul(castLike(scale, x), invStd)
  const through = (running: Value | null) => running && op.Mul(castLike(running, x), 1 - momentum)
  const [dMean, dVar] = [through(dRunningMean), through(dRunningVar)]
  const terms = [
    incoming &&
      op.Add(
        op.Mul(incoming, column(slope)),
        op.Add(
          op.Mul(flat(x), column(op.Neg(op.Mul(pull!, slope)))),
          column(op.Mul(op.Sub(op.Mul(pull!, batchMean), divideByCount(dBias!, n)), slope)),
        ),
      ),
    dVar && op.Mul(centered, column(divideByCount(op.Mul(dVar, 2), n))),
    dMean && op.Expand(column(divideByCount(dMean, n)), op.Shape(flat(x))),
  ].filter((term) => term !== null)
  const dx = restored(terms.reduce((sum, term) => op.Add(sum, term)))
  if (products)
    setNormalizedGradient(dx, {
      product: product!,
      dy: incoming!,
      slope,
      dMean: op.Div(dBias!, n),
      pull: pull!,
      centered: products,
      count: n,
    })
  return [
    dx,
    along && castLike(op.Mul(along, invStd), scale),
    dBias && castLike(dBias, scale),
    dRunningMean && castLike(op.Mul(dRunningMean, momentum), mean),
    dRunningVar && castLike(op.Mul(dRunningVar, momentum), variance),
  ]
}
