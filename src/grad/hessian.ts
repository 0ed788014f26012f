import { input } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import { gradientsWithin } from './gradient.js'
import type { GradientTables } from './rule.js'

/** Hessian-vector products as part of a graph. */
interface HessianProducts {
  /** Vectors v by input name, `<prefix><parameter>`, each with the type and shape of its parameter. */
  readonly vectors: ReadonlyMap<string, Value>
  /** Products Hv, one per parameter; null if zero. */
  readonly products: readonly (Value | null)[]
}

/**
 * Builds exact Hessian-vector products: Hv is the gradient of <g, v>, where g is the gradient (Pearlmutter 1994).
 * @param gradient g, one per parameter; null if zero
 * @throws OnnxIreError `not-differentiable` if the gradient cannot be differentiated again
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
  return { vectors, products: gradientsWithin(seeds, [...parameters.values()], () => true, tables) }
}
