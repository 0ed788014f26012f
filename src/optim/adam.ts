import type { FloatArray } from './arrays.js'
import type { BaseOptimizer } from './base.js'
import { belowOne, checkNames, checkNumber, invalidOption, nonNegative } from './option.js'

/** Options of `adam` and `adamw`; names and defaults are those of `torch.optim.Adam` and `AdamW`. */
export interface AdamOptions {
  /** Learning rate; default 1e-3. */
  readonly lr?: number
  /** Decay rates of the two moments, each in [0, 1); default [0.9, 0.999]. */
  readonly betas?: readonly [number, number]
  /** Added to the root of the second moment; default 1e-8. */
  readonly eps?: number
  /** `adam`: L2, added to the gradient, default 0. `adamw`: decoupled, times lr, default 0.01. */
  readonly weightDecay?: number
}

/**
 * Adam (Kingma & Ba 2015, arXiv 1412.6980), exactly as `torch.optim.Adam`; t counts from 1:
 *
 *     g <- g + weightDecay theta
 *     m <- beta1 m + (1 - beta1) g
 *     v <- beta2 v + (1 - beta2) g^2
 *     d = -lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
 *
 * @throws 'invalid-option'
 */
export const adam = (options: AdamOptions = {}): BaseOptimizer => create('adam', options, 0)

/**
 * AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), exactly as `torch.optim.AdamW`: Adam without the first line, and
 * d has the additional term -lr weightDecay theta.
 *
 * @throws 'invalid-option'
 */
export const adamw = (options: AdamOptions = {}): BaseOptimizer => create('adamw', options, 0.01)

function create(name: 'adam' | 'adamw', options: AdamOptions, defaultDecay: number): BaseOptimizer {
  checkNames(name, options, ['lr', 'betas', 'eps', 'weightDecay'])
  const base = checkNumber(name, 'lr', options.lr ?? 1e-3, nonNegative)
  const betas = options.betas ?? [0.9, 0.999]
  if (!Array.isArray(betas) || betas.length !== 2) throw invalidOption(name, 'betas', betas, 'two numbers in [0, 1)')
  const beta1 = checkNumber(name, 'betas[0]', betas[0], belowOne)
  const beta2 = checkNumber(name, 'betas[1]', betas[1], belowOne)
  const eps = checkNumber(name, 'eps', options.eps ?? 1e-8, nonNegative)
  const decay = checkNumber(name, 'weightDecay', options.weightDecay ?? defaultDecay, nonNegative)

  return Object.freeze<BaseOptimizer>({
    kind: 'base',
    name,
    lr: base,
    weightDecay: decay,
    options: Object.freeze({ lr: base, betas: Object.freeze([beta1, beta2]), eps, weightDecay: decay }),
    moments: ['firstMoment', 'secondMoment'],
    displacement: (t, lr, scale, weightDecay) => {
      // Both sides of the fraction times r = sqrt(1 - beta2^t): rate m / (sqrt(v) + eps r), a factor less per element.
      const root = Math.sqrt(1 - beta2 ** (t + 1))
      const rate = (-lr * root) / (1 - beta1 ** (t + 1))
      const [take1, take2] = [1 - beta1, 1 - beta2]
      if (name === 'adam' && weightDecay > 0) {
        const c = Float64Array.of(beta1, take1, beta2, take2, eps * root, rate, scale, weightDecay)
        return (d, theta, g, moments, from, to) => coupled(d, theta, g, moments[0]!, moments[1]!, from, to, c)
      }
      // scale belongs to the gradient alone here, and joins the factors of g and g^2.
      const shrink = name === 'adamw' ? lr * weightDecay : 0
      const c = Float64Array.of(beta1, take1 * scale, beta2, take2 * scale * scale, eps * root, rate, shrink)
      return (d, theta, g, moments, from, to) => decoupled(d, theta, g, moments[0]!, moments[1]!, from, to, c)
    },
  })
}

// Most of an update is spent in these loops, half of it in the root and the quotient: an operation less is measurable.
// The numbers come in one array `c`: read from it they are plain doubles, as arguments they would be boxed.

/** With weight decay as a term of d. */
function decoupled(
  d: Float64Array,
  theta: FloatArray,
  g: FloatArray,
  m: FloatArray,
  v: FloatArray,
  from: number,
  to: number,
  c: Float64Array,
): void {
  const keep1 = c[0]!
  const take1 = c[1]!
  const keep2 = c[2]!
  const take2 = c[3]!
  const eps = c[4]!
  const rate = c[5]!
  const shrink = c[6]!
  for (let i = 0, j = from; j < to; i++, j++) {
    const gradient = g[j]!
    const first = keep1 * m[j]! + take1 * gradient
    const second = keep2 * v[j]! + take2 * (gradient * gradient)
    m[j] = first
    v[j] = second
    d[i] = (rate * first) / (Math.sqrt(second) + eps) - shrink * theta[j]!
  }
}

/** With weight decay as a term of the gradient. */
function coupled(
  d: Float64Array,
  theta: FloatArray,
  g: FloatArray,
  m: FloatArray,
  v: FloatArray,
  from: number,
  to: number,
  c: Float64Array,
): void {
  const keep1 = c[0]!
  const take1 = c[1]!
  const keep2 = c[2]!
  const take2 = c[3]!
  const eps = c[4]!
  const rate = c[5]!
  const scale = c[6]!
  const l2 = c[7]!
  for (let i = 0, j = from; j < to; i++, j++) {
    const gradient = scale * g[j]! + l2 * theta[j]!
    const first = keep1 * m[j]! + take1 * gradient
    const second = keep2 * v[j]! + take2 * (gradient * gradient)
    m[j] = first
    v[j] = second
    d[i] = (rate * first) / (Math.sqrt(second) + eps)
  }
}
