import { input } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { gradients } from './gradient.js'
import type { GradientTables } from './rule.js'

/** Products of a Hessian with a vector, as part of a graph. */
export interface HessianProducts {
  /** v by input name, `<prefix><parameter>`, each of its parameter's type and shape. */
  readonly vectors: ReadonlyMap<string, Value>
  /** Hv, one per parameter; null where it is zero. */
  readonly products: readonly (Value | null)[]
}

/**
 * Hv as the gradient of <g, v>, g the gradient (Pearlmutter 1994): exact, no differences.
 * @param gradient g, one per parameter; null where it is zero
 * Throws `not-differentiable` where the gradient cannot be differentiated again.
 */
export function hessianProducts(
  gradient: readonly (Value | null)[],
  parameters: ReadonlyMap<string, Value>,
  prefix: string,
  tables?: GradientTables,
): HessianProducts {
  const vectors = new Map(
    [...parameters].map(([name, { dtype, shape }]) => [prefix + name, input(prefix + name, dtype, shape)]),
  )
  const seeds = [...vectors.values()].flatMap((v, i) => (gradient[i] ? [[gradient[i], v] as const] : []))
  return { vectors, products: gradients(seeds, [...parameters.values()], tables) }
}
