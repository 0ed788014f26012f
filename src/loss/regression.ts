import { isFloat } from '../ir/dtype.js'
import { input } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/op.js'
import { OnnxIreError } from '../util/errors.js'
import type { Loss, Noise } from './loss.js'
import { inFullPrecision, outputNamed } from './output.js'
import { reported, sampledMean, targetInputs, type WeightOptions, weighed, weightedMean } from './weights.js'

export interface RegressionOptions extends WeightOptions {
  /** The output that is compared. Default: the only output. */
  readonly output?: string
  /** The name under which the data gives the targets, of the output's type (float32 for half floats) and shape. Default 'targets'. */
  readonly targets?: string
}

/** A loss of the error e = y - t of every element, and the likelihood of t it implies: density exp(-of(e)), up to a factor. */
export interface ErrorLoss {
  readonly name: string
  /** The loss of every element. */
  of(error: Value): Value
  /** The noise that decides a draw of e from that density... */
  readonly distribution: Noise
  /** ...and the slope of the loss at that e. */
  slope(noise: Value): Value
}

/** A loss of errors, averaged over all elements that are not left out. */
export const regression = ({ name: loss, of, distribution, slope }: ErrorLoss, options: RegressionOptions): Loss => ({
  name: loss,
  build(outputs) {
    const { targets: name = 'targets' } = options
    const y = inFullPrecision(outputNamed(outputs, options.output, loss))
    if (!isFloat(y.dtype))
      throw new OnnxIreError('invalid-option', `${loss}: the output holds ${y.dtype}, which no gradient moves`)
    const given = input(name, y.dtype, y.shape)
    const weighing = weighed(given, y, options, loss)
    const { kept } = weighing
    // What is left out may be NaN.
    const targets = kept ? op.Where(kept, given, 0) : given
    const noise = input(`noise/${name}`, y.dtype, y.shape)
    return {
      loss: weightedMean(of(op.Sub(y, targets)), weighing),
      targets: targetInputs(given, weighing, loss),
      ...reported(weighing),
      compared: new Map([['', { kind: 'values', output: y, targets, kept }]]),
      sampled: {
        // The gradient at t = y - e, t held fixed, is slope(e) dy: that of slope(e) y.
        loss: sampledMean(op.Mul(slope(noise), y), weighing),
        noise: new Map([[noise.name!, { value: noise, distribution }]]),
      },
    }
  },
})
