import type { Value } from '../../ir/value.js'
import { as, channelsOf, share } from '../../op/compose/statistics.js'
import { op } from '../../op/op.js'

type Gradients = readonly [
  dx: Value | null,
  dScale: Value | null,
  dBias: Value | null,
  dMean: Value | null,
  dVariance: Value | null,
]

/**
 * Gradients of y = (x - mean) scale / std + bias with std = sqrt(var + epsilon), where mean and var are inputs:
 * dx = dy scale / std, dscale = sum(dy (x - mean)) / std, dbias = sum(dy), dmean = -dbias scale / std,
 * dvar = -dscale scale / (2 (var + epsilon)).
 */
export function batchNormalizationFrozen(
  x: Value,
  scale: Value,
  mean: Value,
  variance: Value,
  dy: Value,
  epsilon: number,
): Gradients {
  const { flat, restored, column, perChannel } = channelsOf(x)
  const spread = op.Add(variance, epsilon)
  const std = op.Sqrt(spread)
  const slope = op.Div(as(scale, variance), std)
  const dx = op.Mul(flat(dy), column(as(slope, x)))
  const dBias = as(perChannel(flat(dy)), variance)
  const centered = op.Sub(flat(x), column(as(mean, x)))
  const dScale = op.Div(as(perChannel(op.Mul(flat(dy), centered)), variance), std)
  const dVariance = op.Div(op.Mul(op.Mul(dScale, as(scale, variance)), -0.5), spread)
  return [restored(dx), as(dScale, scale), as(dBias, scale), op.Neg(op.Mul(dBias, slope)), dVariance]
}

/**
 * Gradients of BatchNormalization in training mode, where mean and variance depend on x: dx = scale / std (dy -
 * sum(dy) / n - c sum(dy c) / (n std^2)) with c = x - mean. The running statistics momentum * old + (1 - momentum) *
 * batch pass their gradients to the old ones and to x. With momentum 0 they equal those of the batch, which are then
 * not computed again.
 */
export function batchNormalizationTraining(
  x: Value,
  scale: Value,
  mean: Value,
  variance: Value,
  [dy, dRunningMean, dRunningVar]: readonly [Value | null, Value | null, Value | null],
  [, runningMean, runningVar]: readonly [Value, Value, Value],
  { epsilon, momentum }: { readonly epsilon: number; readonly momentum: number },
): Gradients {
  const { flat, restored, column, perChannel, meanPerChannel } = channelsOf(x)
  const n = share(x, scale)
  const batchMean = momentum === 0 ? as(runningMean, x) : meanPerChannel(flat(x))
  const centered = op.Sub(flat(x), column(batchMean))
  const batchVar = momentum === 0 ? as(runningVar, x) : meanPerChannel(op.Mul(centered, centered))
  const invStd = op.Reciprocal(op.Sqrt(op.Add(batchVar, epsilon)))
  const incoming = dy && flat(dy)
  const dBias = incoming && perChannel(incoming)
  const along = incoming && perChannel(op.Mul(incoming, centered))
  const pull = along && op.Div(op.Mul(along, op.Mul(invStd, invStd)), n)
  const through = (running: Value | null) => running && op.Mul(as(running, x), 1 - momentum)
  const [dMean, dVar] = [through(dRunningMean), through(dRunningVar)]
  const terms = [
    incoming &&
      op.Mul(
        op.Sub(op.Sub(incoming, column(op.Div(dBias!, n))), op.Mul(centered, column(pull!))),
        column(op.Mul(as(scale, x), invStd)),
      ),
    dVar && op.Mul(centered, column(op.Div(op.Mul(dVar, 2), n))),
    dMean && op.Expand(column(op.Div(dMean, n)), op.Shape(flat(x))),
  ].filter((term) => term !== null)
  return [
    restored(terms.reduce((sum, term) => op.Add(sum, term))),
    along && as(op.Mul(along, invStd), scale),
    dBias && as(dBias, scale),
    dRunningMean && as(op.Mul(dRunningMean, momentum), mean),
    dRunningVar && as(op.Mul(dRunningVar, momentum), variance),
  ]
}
