import { int64s, scalar } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import { lengthAlong, rangeAlongAxis, scalarLength } from '../../op/compose/shape.js'
import { wholeScalar } from '../../op/compose/signal.js'
import { knownNumbers } from '../../op/contents.js'
import { dftAxis, type signal } from '../../op/definitions/signal.js'
import { op } from '../../op/op.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Rules } from '../rule.js'

/** Crops `x` to `length` elements along `axis`, or pads it with zeros at the end. */
function cropOrPad(x: Value, axis: number, length: Value): Value {
  const missing = op.Sub(length, lengthAlong(x, axis))
  if (knownNumbers(missing)?.[0] === 0) return x
  return op.Pad(x, op.Concat([int64s([0]), missing], { axis: 0 }), null, [axis])
}

/** Real part of a spectrum if `x` is real, else the whole spectrum. */
const partsLike = (spectrum: Value, x: Value): Value =>
  x.shape?.at(-1) === 2 ? spectrum : op.Slice(spectrum, [0], lengthAlong(x, -1), [-1])

/** Number of frequencies that each one of a one-sided spectrum represents: 1 for 0 and, if n is even, n / 2; else 2. */
function multiplicity(frequencies: Value, n: Value, axis: number, rank: number): Value {
  const k = rangeAlongAxis(frequencies, axis, rank)
  const alone = op.Or(op.Equal(k, 0), op.Equal(op.Mul(k, 2), n))
  return op.Where(alone, scalar('int64', 1), scalar('int64', 2))
}

export const signalRules = {
  // y = F x with a symmetric F: dx = conj(F) dy, the inverse transform up to the factor n.
  DFT: ([x, length, axis], dy, { y, attributes: { inverse, onesided } }) => {
    const at = dftAxis(x, axis)
    if (at === undefined || !x.shape) {
      throw new OnnxIreError(
        'not-differentiable',
        "DFT: its gradient needs a constant axis and an input of known rank; declare the shape of the model's input",
      )
    }
    const along = scalar('int64', at)
    const own = lengthAlong(x, at)
    if (onesided && inverse) {
      const n = scalarLength(y, at)
      const spectrum = op.DFT(dy, null, along, { onesided: 1 })
      const counts = op.CastLike(multiplicity(scalarLength(spectrum, at), n, at, x.shape.length), dy)
      return [cropOrPad(op.Mul(spectrum, op.Div(counts, op.CastLike(n, dy))), at, own), null, null]
    }
    // The frequencies that a one-sided spectrum omits have no gradient: DFT pads them with zeros.
    const n = length ? wholeScalar(length) : scalarLength(x, at)
    const back = op.DFT(dy, onesided ? n : null, along, { inverse: 1 - inverse })
    const whole = inverse ? op.Div(back, op.CastLike(n, dy)) : op.Mul(back, op.CastLike(n, dy))
    return [partsLike(cropOrPad(whole, at, own), x), null, null]
  },
} satisfies Rules<typeof signal>
