import { body } from '../../../ir/scope.js'
import type { Body, Value } from '../../../ir/value.js'
import { inlined } from '../../../op/inline.js'
import type { Differentiate } from '../../rule.js'
import { zerosLike } from '../../zeros.js'
import { activeStates, placeholder, usedInputs } from './round.js'

/** What is asked of the gradient of a round: (...states, ...given) -> (...states, ...slices). */
export interface Question {
  readonly round: Body
  /** By state: whether its first value is differentiated. */
  readonly initially: readonly boolean[]
  /** By given value, which come behind the states: whether it is differentiated. */
  readonly given: readonly boolean[]
  /** By slice: whether a gradient comes in. */
  readonly incoming: readonly boolean[]
  /** What of the values from outside is differentiated. */
  readonly captured: readonly Value[]
}

/** The gradient of one round as a function of what the round was given and of the gradients of what it gave. */
export interface Pullback {
  /** By state: whether a gradient is carried for it. */
  readonly states: readonly boolean[]
  /** By state and given value: whether `apply` looks at it. */
  readonly used: readonly boolean[]
  /** By captured value: whether it gets a gradient. */
  readonly reached: readonly boolean[]
  /** By given value: whether it gets a gradient. */
  readonly answered: readonly boolean[]
  /**
   * @param xs states and given values as the round got them
   * @param dStates of the carried states, after the round
   * @param dSlices of the incoming slices
   */
  apply(xs: readonly Value[], dStates: readonly Value[], dSlices: readonly Value[]): Gradients
}

interface Gradients {
  readonly states: readonly Value[]
  readonly captured: readonly Value[]
  readonly given: readonly Value[]
}

const where = <T>(items: readonly T[], which: readonly boolean[]): T[] => items.filter((_, i) => which[i])

/** Differentiates a round once, to be applied in every one. */
export function pullback(
  { round, initially, given, incoming, captured }: Question,
  differentiate: Differentiate,
): Pullback {
  const count = initially.length
  const states = activeStates(round, initially, (i) => given[i - count] ?? false, captured)
  const xs = round.inputs.map((x) => placeholder(x))
  const dStates = where(xs.slice(0, count), states).map((x) => placeholder(x))
  const dSlices = where(round.outputs.slice(count), incoming).map((y) => placeholder(y))
  let found: { captured: (Value | null)[]; given: (Value | null)[] } = { captured: [], given: [] }
  const gradient = body([...xs, ...dStates, ...dSlices], () => {
    const ys = inlined(round, xs)
    const carried = where(xs.slice(0, count), states)
    const asked = where(xs.slice(count), given)
    const dxs = differentiate(
      [
        ...where(ys.slice(0, count), states).map((y, i) => [y, dStates[i]!] as const),
        ...where(ys.slice(count), incoming).map((y, i) => [y, dSlices[i]!] as const),
      ],
      [...carried, ...captured, ...asked],
    )
    found = {
      captured: dxs.slice(carried.length, carried.length + captured.length),
      given: dxs.slice(carried.length + captured.length),
    }
    return [
      ...carried.map((x, i) => dxs[i] ?? zerosLike(x)),
      ...[...found.captured, ...found.given].filter((dx) => dx !== null),
    ]
  })
  const [carriedCount, capturedCount] = [dStates.length, found.captured.filter((dx) => dx !== null).length]
  let next = 0
  return {
    states,
    used: usedInputs(gradient).slice(0, xs.length),
    reached: found.captured.map((dx) => dx !== null),
    answered: given.map((asked) => asked && found.given[next++] !== null),
    apply: (xs, dStates, dSlices) => {
      const dxs = inlined(gradient, [...xs, ...dStates, ...dSlices])
      return {
        states: dxs.slice(0, carriedCount),
        captured: dxs.slice(carriedCount, carriedCount + capturedCount),
        given: dxs.slice(carriedCount + capturedCount),
      }
    },
  }
}
