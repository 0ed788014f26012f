import { OnnxIreError } from '../errors.js'
import { isFloat } from '../ir/dtype.js'
import { input } from '../ir/leaf.js'
import { op } from '../op/index.js'
import type { Loss } from './loss.js'
import { inFullPrecision, outputNamed } from './output.js'

export interface MseOptions {
  /** The output that is compared. Default: the only output. */
  readonly output?: string
  /** The name under which the data gives the targets, of the output's type (float32 for half floats) and shape. Default 'targets'. */
  readonly targets?: string
}

/**
 * Mean squared error over all elements. The likelihood it implies is a unit normal around the output, so targets are
 * sampled as the output plus standard normal noise.
 */
export function mse(options: MseOptions = {}): Loss {
  const { targets: name = 'targets' } = options
  return {
    name: 'mse',
    build(outputs) {
      const y = inFullPrecision(outputNamed(outputs, options.output, 'mse'))
      if (!isFloat(y.dtype))
        throw new OnnxIreError('invalid-option', `mse: the output holds ${y.dtype}, which no gradient moves`)
      const targets = input(name, y.dtype, y.shape)
      const noise = input(`noise/${name}`, y.dtype, y.shape)
      const error = op.Sub(y, targets)
      return {
        loss: op.ReduceMean(op.Mul(error, error), { keepdims: 0 }),
        targets: new Map([[name, targets]]),
        count: op.CastLike(op.Size(y), y),
        // d/dy mean (y - t)^2 at t = y + noise, t held fixed, is mean (-2 noise dy): linear in y.
        sampled: {
          loss: op.ReduceMean(op.Mul(op.Mul(noise, -2), y), { keepdims: 0 }),
          noise: new Map([[noise.name!, { value: noise, distribution: 'normal' }]]),
        },
      }
    },
  }
}
