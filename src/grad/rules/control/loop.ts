import { constant, constantNumber, scalar, tensorFrom } from '../../../ir/leaf.js'
import { body } from '../../../ir/scope.js'
import { capturesOf } from '../../../ir/topology.js'
import type { Body, Value } from '../../../ir/value.js'
import { copied, inlined } from '../../../op/inline.js'
import { op } from '../../../op/op.js'
import type { ControlRule } from '../../rule.js'
import { zerosLike } from '../../zeros.js'
import { stackedProduct } from './product.js'
import { pullback, where } from './pullback.js'
import { refuseRandom } from './random.js'
import { changeOf, placeholder, refuseChange, roundBody, shapedLike, sizeOfBody } from './round.js'
import { Total } from './total.js'
import { canBeWritten, isShort } from './unroll.js'

/**
 * Loop is differentiated by a second one that goes through its rounds from the last to the first. Each of its rounds computes
 * a round of the first again, from the states it began with and the results of costly operators, which another run of the
 * first Loop has kept; it carries the gradients of the states and adds up those of captured values. A few rounds of a fixed
 * number are written out instead.
 */
export const loop: ControlRule = (node, dys, wrt, differentiate) => {
  const [m = null, go = null] = node.inputs
  const initial = node.inputs.slice(2) as Value[]
  const { body: of } = node.attributes as { body: Body }
  refuseRandom(of)
  const rounds = fixedRounds(m, go, of)
  const states = initial.map((x, i) => placeholder(typeOf(of.inputs[i + 2]!, x), 'state'))
  const given = [numbered(of.inputs[0]!), placeholder(of.inputs[1]!), ...states]
  const round = body(given, () => inlined(of, given))
  const change = changeOf(states, round.outputs.slice(1))
  if (rounds !== undefined && (change ? canBeWritten : isShort)(rounds, sizeOfBody(of))) {
    const ys = unrolled(of, rounds, initial)
    return differentiate(
      ys.flatMap((y, i) => (y && dys[i] ? [[y, dys[i]] as const] : [])),
      wrt,
    )
  }
  refuseChange(change)

  const captured = capturesOf(node).filter((x) => wrt.includes(x))
  // A round that takes place was let go on.
  const goesOn = yes(of.inputs[1]!)
  const back = pullback(
    {
      of: round,
      lead: 2,
      skip: 1,
      count: states.length,
      inputs: [given[0]!, goesOn, ...states],
      asked: given.map((_, i) => i > 1 && wrt.includes(initial[i - 2]!)),
      incoming: dys.slice(initial.length).map((dy) => dy !== null),
      captured,
      // A second Loop cannot stack in the order of the first: factors have to come from one of them.
      stacked: false,
    },
    differentiate,
  )

  const kept = back.used.slice(2)
  const counted = !kept.includes(true) && back.saved.length === 0 && rounds === undefined
  const forward = op.Loop(m, go, initial, {
    body: roundBody(
      given.map((x) => placeholder(x)),
      (...xs) => {
        const copies = copied(round, xs)
        const now = (x: Value) => copies.get(x) ?? x
        const results = round.outputs.slice(0, 1 + states.length).map(now)
        return [...results, ...where(xs.slice(2), kept), ...back.saved.map(now), ...(counted ? [xs[0]!] : [])]
      },
    ),
  })
  const stacks = forward.slice(initial.length)
  const count = rounds === undefined ? op.Gather(op.Shape(stacks[0]!), scalar('int64', 0)) : scalar('int64', rounds)
  const last = op.Sub(count, 1)

  const carried = initial.flatMap((x, i) => (back.states[i] ? [dys[i] ?? zerosLike(x)] : []))
  const summed = captured.filter((_, i) => back.captured[i]!.sums)
  const start = [...carried, ...summed.map(zerosLike)]
  const scalars = [
    placeholder({ dtype: 'int64', shape: [] }, 'round'),
    placeholder({ dtype: 'bool', shape: [] }, 'again'),
  ]
  const result = op.Loop(count, null, start, {
    body: roundBody([...scalars, ...start.map((x) => placeholder(x, 'gradient'))], (k, again, ...now) => {
      const t = op.Sub(last, k!)
      const slices = stacks.map((stack) => op.Gather(stack, t))
      const xs = states.map((x, i) => (kept[i] ? shapedLike(slices.shift()!, x) : x))
      const saved = back.saved.map((x) => shapedLike(slices.shift()!, x))
      const number = given[0]!.shape?.length === 1 ? op.Reshape(t, [1]) : t
      const dSlices = dys.slice(initial.length).flatMap((dy) => (dy ? [op.Gather(dy, t)] : []))
      const dxs = back.apply([number, goesOn, ...xs], saved, now.slice(0, carried.length), dSlices)
      const sums = dxs.sums.map((dx, i) => op.Add(now[carried.length + i]!, dx))
      return [again!, ...dxs.states, ...sums, ...dxs.factors]
    }),
  })
  const total = new Total()
  const rest = [...result]
  for (const x of where(initial, back.states)) total.add(x, shapedLike(rest.shift()!, x))
  for (const x of summed) total.add(x, shapedLike(rest.shift()!, x))
  for (const [i, { products }] of back.captured.entries())
    for (const { a, b, alpha } of products)
      total.add(captured[i], shapedLike(stackedProduct({ a: rest[a.index]!, b: rest[b.index]!, alpha }), captured[i]!))
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
const typeOf = (declared: Value, initial: Value) => ({
  name: declared.name,
  dtype: initial.dtype,
  shape: initial.shape ?? declared.shape,
})
