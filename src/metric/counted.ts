import { scalar } from '../ir/leaf.js'
import type { Value } from '../ir/value.js'
import type { Compared } from '../loss/loss.js'
import { op } from '../op/op.js'
import { OnnxIreError } from '../util/errors.js'

/** Comparisons that are decided one way or another: of classes, or of yes and no. */
export type Decided = Exclude<Compared, { kind: 'values' }>

/** What was decided beside what is true. */
export interface Decisions {
  /** Class numbers, int64; for yes-or-no 1 and 0. */
  readonly predicted: Value
  readonly actual: Value
  /** 1 per decision as a float, 0 for what is left out. */
  readonly counted: Value
}

/**
 * Classes by the highest score, the first of equal ones; yes where sigmoid(z) > threshold, and truly so where the target is
 * above 1/2. Labels that are left out are replaced by 0.
 */
export function decisionsOf(compared: Decided, threshold = 0.5): Decisions {
  const { logits, kept } = compared
  const zero = scalar('int64', 0)
  const predicted =
    compared.kind === 'binary'
      ? op.CastLike(op.Greater(logits, Math.log(threshold / (1 - threshold))), zero)
      : op.ArgMax(logits, { axis: compared.axis, keepdims: 0 })
  const labels = compared.kind === 'binary' ? op.CastLike(op.Greater(compared.targets, 0.5), zero) : compared.labels
  const actual = kept ? op.Where(kept, labels, zero) : labels
  return { predicted, actual, counted: op.CastLike(kept ?? op.Equal(actual, actual), logits) }
}

/** How many of the decisions that count have each of the numbers below `bins`: [bins]. */
export function histogram(numbers: Value, counted: Value, bins: number): Value {
  const zeros = op.Expand(scalar(counted.dtype, 0), [bins])
  const [indices, updates] = [numbers, counted].map((x) => op.Reshape(x, [-1]))
  return op.ScatterElements(zeros, indices!, updates!, { axis: 0, reduction: 'add' })
}

/** The number of classes, which sums of static shape need. Throws `invalid-option` where the model leaves it open. */
export function classesOf({ logits, axis }: Extract<Compared, { kind: 'classes' }>, metric: string): number {
  const classes = logits.shape?.[axis]
  if (typeof classes === 'number') return classes
  throw new OnnxIreError(
    'invalid-option',
    `${metric}: the model does not say how many classes it tells apart (${classes ?? 'unknown'}), which this metric has to know; fix the length of its output's class axis, or measure accuracy`,
  )
}

/** The sum of all elements that count. */
export const total = (x: Value, kept: Value | null): Value =>
  op.ReduceSum(kept ? op.Where(kept, x, 0) : x, { keepdims: 0 })

/** How many elements of `x` count, in the type of `like`. */
export const countOf = (x: Value, kept: Value | null, like: Value): Value =>
  kept ? op.ReduceSum(op.CastLike(kept, like), { keepdims: 0 }) : op.CastLike(op.Size(x), like)
