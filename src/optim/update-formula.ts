import { array, type Expr, type Formula, formula, scalar, substitute } from './expr/expr.js'

/** Parts of an update beyond the base optimizer. */
export interface UpdateVariant {
  /** Whether gradients are clipped by value to [-limit, limit]. */
  readonly clipped: boolean
  /** Whether the mask n and kappa enhance the displacement. */
  readonly enhanced: boolean
}

const cache = new WeakMap<Formula, Map<string, Formula>>()

/**
 * Builds the update of one tensor from a base optimizer's formula:
 *
 *     g <- scale max(-limit, min(limit, g))
 *     theta <- theta + (1 + kappa n) d
 *
 * Scalars: the base optimizer's, and `scale`, `limit`, `kappa`. Outputs: `theta` and every moment.
 * @returns the same object for the same arguments
 */
export function updateFormula(base: Formula, { clipped, enhanced }: UpdateVariant): Formula {
  const variants = cache.get(base) ?? new Map<string, Formula>()
  cache.set(base, variants)
  const key = `${clipped} ${enhanced}`
  const known = variants.get(key)
  if (known) return known
  const [theta, n, limit, kappa] = [array('theta'), array('n'), scalar('limit'), scalar('kappa')]
  const g = clipped ? array('g').min(limit).max(limit.negate()) : array('g')
  const done = new Map<Expr, Expr>()
  const outputs = Object.entries(base.outputs).map(
    ([name, expr]) => [name, substitute(expr, { g: g.mul(scalar('scale')) }, done)] as const,
  )
  const { d, ...moments } = Object.fromEntries(outputs)
  const displacement = enhanced ? n.mul(kappa).add(1).mul(d!) : d!
  const update = formula({ theta: theta.add(displacement), ...moments })
  variants.set(key, update)
  return update
}
