import type { FloatArray } from './arrays.js'
import type { BaseOptimizer } from './base.js'
import { checkBoolean, checkNames, checkNumber, invalidOption, nonNegative } from './option.js'

/** Options of `sgd`; names and defaults are those of `torch.optim.SGD`. */
export interface SgdOptions {
  /** Learning rate; default 1e-3. */
  readonly lr?: number
  /** Default 0. */
  readonly momentum?: number
  /** The momentum buffer takes (1 - dampening) g, except on the first step, where it takes g; default 0. */
  readonly dampening?: number
  /** Default false; needs momentum > 0 and dampening 0. */
  readonly nesterov?: boolean
  /** L2: weightDecay * theta is added to the gradient; default 0. */
  readonly weightDecay?: number
}

/**
 * Stochastic gradient descent, exactly as `torch.optim.SGD`:
 *
 *     g <- g + weightDecay theta
 *     b <- g on the first step, then momentum b + (1 - dampening) g
 *     d = -lr (nesterov ? g + momentum b : b)
 *
 * @throws 'invalid-option'
 */
export function sgd(options: SgdOptions = {}): BaseOptimizer {
  checkNames('sgd', options, ['lr', 'momentum', 'dampening', 'nesterov', 'weightDecay'])
  const base = checkNumber('sgd', 'lr', options.lr ?? 1e-3, nonNegative)
  const momentum = checkNumber('sgd', 'momentum', options.momentum ?? 0, nonNegative)
  const dampening = checkNumber('sgd', 'dampening', options.dampening ?? 0, nonNegative)
  const nesterov = checkBoolean('sgd', 'nesterov', options.nesterov ?? false)
  const decay = checkNumber('sgd', 'weightDecay', options.weightDecay ?? 0, nonNegative)
  if (nesterov && (momentum === 0 || dampening !== 0))
    throw invalidOption('sgd', 'nesterov', nesterov, 'false unless momentum > 0 and dampening is 0')

  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name: 'sgd',
    lr: base,
    weightDecay: decay,
    options: Object.freeze({ lr: base, momentum, dampening, nesterov, weightDecay: decay }),
    moments: momentum === 0 ? [] : ['momentum'],
    displacement: (t, lr, scale, weightDecay) => {
      if (momentum === 0) {
        const c = Float64Array.of(lr, scale, weightDecay)
        return (d, theta, g, _, from, to) => plain(d, theta, g, from, to, c)
      }
      const [keep, take] = t === 0 ? [0, 1] : [momentum, 1 - dampening]
      // d = -(gradientShare g + bufferShare b)
      const [gradientShare, bufferShare] = nesterov ? [lr, lr * momentum] : [0, lr]
      const c = Float64Array.of(gradientShare, bufferShare, scale, weightDecay, keep, take)
      return (d, theta, g, moments, from, to) => heavyBall(d, theta, g, moments[0]!, from, to, c)
    },
  })
}

// The numbers come in one array `c`: read from it they are plain doubles, as arguments they would be boxed.

function plain(d: Float64Array, theta: FloatArray, g: FloatArray, from: number, to: number, c: Float64Array): void {
  const lr = c[0]!
  const scale = c[1]!
  const weightDecay = c[2]!
  for (let i = 0, j = from; j < to; i++, j++) d[i] = -lr * (scale * g[j]! + weightDecay * theta[j]!)
}

function heavyBall(
  d: Float64Array,
  theta: FloatArray,
  g: FloatArray,
  buffer: FloatArray,
  from: number,
  to: number,
  c: Float64Array,
): void {
  const gradientShare = c[0]!
  const bufferShare = c[1]!
  const scale = c[2]!
  const weightDecay = c[3]!
  const keep = c[4]!
  const take = c[5]!
  for (let i = 0, j = from; j < to; i++, j++) {
    const gradient = scale * g[j]! + weightDecay * theta[j]!
    const b = keep * buffer[j]! + take * gradient
    buffer[j] = b
    d[i] = -(gradientShare * gradient + bufferShare * b)
  }
}
