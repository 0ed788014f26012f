import { abs, add, array, atMost, type Formula, formula, max, min, mul, scalar, sub, substitute } from './expr/expr.js'

const [theta, g, F, n] = [array('theta'), array('g'), array('F'), array('n')]

/** What an update does beyond its base optimizer. */
export interface UpdateVariant {
  /** Whether an element of the gradient is above `limit`. */
  readonly clipped: boolean
  /** Whether the mask `n` enhances it. */
  readonly enhanced: boolean
}

const updates = new WeakMap<Formula, Map<number, Formula>>()

/**
 * The update of one tensor, with every moment; scalars are the base's and scale, limit, kappa:
 *
 *     g <- scale max(-limit, min(limit, g))
 *     theta <- theta + (1 + kappa n) d
 *
 * @param base a base optimizer's formula
 * @returns the same object every time
 */
export function updateFormula(base: Formula, { clipped, enhanced }: UpdateVariant): Formula {
  const variants = updates.get(base) ?? new Map<number, Formula>()
  updates.set(base, variants)
  const key = Number(clipped) + 2 * Number(enhanced)
  const known = variants.get(key)
  if (known) return known
  const limit = scalar('limit')
  const within = clipped ? max(sub(0, limit), min(limit, g)) : g
  const given = new Map()
  const terms = Object.entries(base.outputs).map(
    ([name, term]) => [name, substitute(term, { g: mul(scalar('scale'), within) }, given)] as const,
  )
  const { d, ...moments } = Object.fromEntries(terms)
  const moved = enhanced ? mul(add(1, mul(scalar('kappa'), n)), d!) : d!
  const made = formula({ theta: add(theta, moved), ...moments })
  variants.set(key, made)
  return made
}

/** ascended = theta + scale g, where scale = rho / (||g|| + 1e-12); see `sam`. */
export const ascent: Formula = formula({ ascended: add(theta, mul(scalar('scale'), g)) })

/** ascended = theta + scale theta^2 g, where scale = rho / (||abs(theta) g|| + 1e-12). */
export const adaptiveAscent: Formula = formula({
  ascended: add(theta, mul(mul(mul(scalar('scale'), theta), theta), g)),
})

/** ||abs(theta) g||^2 */
export const adaptiveNorm: Formula = formula({}, { squares: mul(theta, g) })

/** F <- beta F + take g^2, where take = (1 - beta) B. */
export const smoothedSquare: Formula = formula({
  F: add(mul(scalar('beta'), F), mul(mul(scalar('take'), g), g)),
})

/** F <- beta F + take g, where take = 1 - beta. */
export const smoothedValue: Formula = formula({ F: add(mul(scalar('beta'), F), mul(scalar('take'), g)) })

const flatness = (ranked: typeof F): Formula => {
  const flat = atMost(ranked, scalar('cut'))
  return formula({ n: flat }, { flat, zero: atMost(abs(F), 0) })
}

/** n = 1 where abs(F) <= cut; counts what is flat and what is exactly 0. */
export const flatByMagnitude: Formula = flatness(abs(F))

/** n = 1 where F <= cut; counts what is flat and what is exactly 0. */
export const flatByValue: Formula = flatness(F)

/**
 * average <- decay average + (1 - decay) value, where take = 1 - decay: written so that single precision holds the digits of
 * what is taken, which it would not of a decay close to 1.
 */
export const movedAverage: Formula = formula({
  average: add(array('average'), mul(scalar('take'), sub(array('value'), array('average')))),
})
