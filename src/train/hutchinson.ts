import { gradients, zerosLike } from '../grad/gradient.js'
import { input } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { op } from '../op/index.js'

/** The diagonal of the Hessian as a graph: what it estimates, and the random signs it needs. */
export interface HessianDiagonal {
  /** v * Hv by parameter name, each of the parameter's shape. */
  readonly estimates: ReadonlyMap<string, Value>
  /** v by input name, each of its parameter's shape. */
  readonly probes: ReadonlyMap<string, Value>
}

/**
 * Hutchinson's estimate of the diagonal of the loss's Hessian (Bekas et al. 2007): E[v * Hv] = diag(H) for independent
 * random signs v. Hv is the gradient of <g, v>, g the gradient: exact, no differences.
 */
export function hessianDiagonal(
  dLoss: ReadonlyMap<string, Value>,
  parameters: ReadonlyMap<string, Value>,
): HessianDiagonal {
  const probes = new Map(
    [...parameters].map(([name, { dtype, shape }]) => [`probe/${name}`, input(`probe/${name}`, dtype, shape)]),
  )
  const seeds = [...dLoss].map(([name, g]) => [g, probes.get(`probe/${name}`)!] as const)
  const products = gradients(seeds, [...parameters.values()])
  const estimates = new Map(
    [...parameters].map(([name, parameter], i) => {
      const hv = products[i]
      return [name, hv ? op.Mul(probes.get(`probe/${name}`)!, hv) : zerosLike(parameter)]
    }),
  )
  return { estimates, probes }
}
