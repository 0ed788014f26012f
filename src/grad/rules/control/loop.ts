import { constant, constantNumber, scalar, tensorFrom } from '../../../ir/leaf.js'
import { body } from '../../../ir/scope.js'
import { capturesOf } from '../../../ir/topology.js'
import type { Body, TensorType, Value } from '../../../ir/value.js'
import { op } from '../../../op/index.js'
import { inlined } from '../../../op/inline.js'
import type { ControlRule } from '../../rule.js'
import { zerosLike } from '../../zeros.js'
import { pullback } from './pullback.js'
import { refuseRandom } from './random.js'
import { placeholder, refuseChanging, roundBody, shapedLike, sizeOfBody } from './round.js'
import { Total } from './total.js'
import { isShort } from './unroll.js'

/**
 * Loop is differentiated by a second one that goes through its rounds from the last to the first. Each of its rounds computes
 * a round of the first again, from the states it began with, which another run of the first Loop has kept; it carries
 * the gradients of the states and adds up those of captured values. A few rounds of a fixed number are written out instead.
 */
export const loop: ControlRule = (node, dys, wrt, differentiate) => {
  const [m = null, go = null] = node.inputs
  const initial = node.inputs.slice(2) as Value[]
  const { body: of } = node.attributes as { body: Body }
  refuseRandom(of)
  const rounds = fixedRounds(m, go, of)
  if (rounds !== undefined && isShort(rounds, sizeOfBody(of))) {
    const ys = unrolled(of, rounds, initial)
    return differentiate(
      ys.flatMap((y, i) => (y && dys[i] ? [[y, dys[i]] as const] : [])),
      wrt,
    )
  }

  const captured = capturesOf(node).filter((x) => wrt.includes(x))
  const states = initial.map((x, i) => placeholder({ ...typeOf(of.inputs[i + 2]!, x), name: of.inputs[i + 2]?.name }))
  const round = body([...states, numbered(of.inputs[0]!)], (...xs) => {
    const results = inlined(of, [xs.at(-1)!, yes(of.inputs[1]!), ...xs.slice(0, -1)]).slice(1)
    refuseChanging(states, results)
    return results
  })
  const back = pullback(
    {
      round,
      initially: initial.map((x) => wrt.includes(x)),
      given: [false],
      incoming: dys.slice(initial.length).map((dy) => dy !== null),
      captured,
    },
    differentiate,
  )

  const kept = states.map((_, i) => back.used[i]!)
  const counted = !kept.includes(true) && rounds === undefined
  const forward = op.Loop(m, go, initial, {
    body: roundBody(
      [...of.inputs.slice(0, 2).map((x) => placeholder(x)), ...states.map((x) => placeholder(x))],
      (i, again, ...xs) => {
        const [further, ...results] = inlined(of, [i!, again!, ...xs])
        const begun = xs.filter((_, j) => kept[j])
        return [further!, ...results.slice(0, xs.length), ...(counted ? [i!] : begun)]
      },
    ),
  })
  const stacks = forward.slice(initial.length)
  const count = rounds === undefined ? op.Gather(op.Shape(stacks[0]!), scalar('int64', 0)) : scalar('int64', rounds)
  const last = op.Sub(count, 1)

  const carried = states.flatMap((_, i) => (back.states[i] ? [dys[i] ?? zerosLike(initial[i]!)] : []))
  const reached = captured.filter((_, i) => back.reached[i])
  const start = [...carried, ...reached.map(zerosLike)]
  const result = op.Loop(count, null, start, {
    body: roundBody(
      [
        placeholder({ dtype: 'int64', shape: [] }, 'round'),
        placeholder({ dtype: 'bool', shape: [] }, 'again'),
        ...start.map((x) => placeholder(x, 'gradient')),
      ],
      (k, again, ...carriedNow) => {
        const t = op.Sub(last, k!)
        const stackOf = (i: number) => stacks[kept.slice(0, i).filter(Boolean).length]!
        const xs = states.map((x, i) => (kept[i] ? shapedLike(op.Gather(stackOf(i), t), x) : x))
        const dSlices = dys.slice(initial.length).flatMap((dy) => (dy ? [op.Gather(dy, t)] : []))
        const number = of.inputs[0]!.shape?.length === 1 ? op.Reshape(t, [1]) : t
        const dxs = back.apply([...xs, number], carriedNow.slice(0, carried.length), dSlices)
        return [again!, ...dxs.states, ...dxs.captured.map((dx, i) => op.Add(carriedNow[carried.length + i]!, dx))]
      },
    ),
  })
  const total = new Total()
  let next = 0
  for (const [i, x] of initial.entries()) if (back.states[i]) total.add(x, shapedLike(result[next++]!, x))
  for (const x of reached) total.add(x, shapedLike(result[next++]!, x))
  return wrt.map((x) => total.of(x))
}

/** The number of rounds where it is known and nothing in the body ends the loop before. */
function fixedRounds(m: Value | null, go: Value | null, of: Body): number | undefined {
  const rounds = m?.contents?.[0]
  const goesOn = (value: Value | null | undefined) => constantNumber(value) === 1
  const never =
    of.outputs[0] === of.inputs[1] ? go === null || goesOn(go) : (go === null || goesOn(go)) && goesOn(of.outputs[0])
  return typeof rounds === 'number' && never ? Math.max(0, rounds) : undefined
}

/** Results of a loop written out; undefined for slices of no round. */
function unrolled(of: Body, rounds: number, initial: readonly Value[]): (Value | undefined)[] {
  let states = [...initial]
  const slices: Value[][] = of.outputs.slice(1 + initial.length).map(() => [])
  for (let round = 0; round < rounds; round++) {
    const number = constant(tensorFrom('int64', ones(of.inputs[0]!), [round]))
    const results = inlined(of, [number, yes(of.inputs[1]!), ...states]).slice(1)
    states = results.slice(0, initial.length)
    for (const [i, stack] of slices.entries()) stack.push(op.Unsqueeze(results[initial.length + i]!, [0]))
  }
  return [...states, ...slices.map((stack) => (stack.length > 0 ? op.Concat(stack, { axis: 0 }) : undefined))]
}

/** Runtimes give round number and condition as scalars or vectors of one, as the body declares them. */
const ones = (declared: Value): readonly number[] => (declared.shape?.length === 1 ? [1] : [])
const yes = (declared: Value): Value => constant(tensorFrom('bool', ones(declared), [1]))
const numbered = (declared: Value): Value => placeholder({ dtype: 'int64', shape: ones(declared), name: declared.name })

/** A state is what it begins as; a body may declare less, or more where that is unknown. */
const typeOf = (declared: Value, initial: Value): TensorType => ({
  dtype: initial.dtype,
  shape: initial.shape ?? declared.shape,
})
