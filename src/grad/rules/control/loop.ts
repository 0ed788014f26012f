import { body } from '../../../ir/body.js'
import { constant, constantNumber, scalar, tensorFrom } from '../../../ir/leaf.js'
import { capturesOf } from '../../../ir/topology.js'
import type { Body, Value } from '../../../ir/value.js'
import { cloneBody, inline } from '../../../op/inline.js'
import { op } from '../../../op/op.js'
import { zerosLike } from '../../active.js'
import type { ControlRule } from '../../rule.js'
import {
  canBeUnrolled,
  countNodes,
  findShapeChange,
  GradientSums,
  isFasterUnrolled,
  iterationBody,
  placeholder,
  rejectRandomNodes,
  rejectShapeChange,
  withShapeOf,
} from './iteration.js'
import { buildIterationVjp, select, stackedMatMul } from './vjp.js'

/**
 * Gradient rule of Loop: a second Loop that runs the iterations in reverse. Each iteration recomputes one of the
 * first Loop from its initial states and the results of expensive operators, which another run of the first Loop has
 * stored. It carries the gradients of the states and sums those of captured values. A small constant number of
 * iterations is unrolled instead.
 */
export const loopRule: ControlRule = (node, dys, wrt, differentiate) => {
  const [m = null, go = null] = node.inputs
  const initial = node.inputs.slice(2) as Value[]
  const { body: of } = node.attributes as { body: Body }
  rejectRandomNodes(of)
  const iterations = constantIterationCount(m, go, of)
  const states = initial.map((x, i) => placeholder(typeOf(of.inputs[i + 2]!, x), 'state'))
  const given = [iterationInput(of.inputs[0]!), placeholder(of.inputs[1]!), ...states]
  const iteration = body(given, () => inline(of, given))
  const change = findShapeChange(states, iteration.outputs.slice(1))
  if (iterations !== undefined && (change ? canBeUnrolled : isFasterUnrolled)(iterations, countNodes(of))) {
    const ys = unrollLoop(of, iterations, initial)
    return differentiate(
      ys.flatMap((y, i) => (y && dys[i] ? [[y, dys[i]] as const] : [])),
      wrt,
    )
  }
  rejectShapeChange(change)

  const captured = capturesOf(node).filter((x) => wrt.includes(x))
  // The condition is true in every iteration that runs.
  const goesOn = yes(of.inputs[1]!)
  const back = buildIterationVjp(
    {
      of: iteration,
      lead: 2,
      skip: 1,
      count: states.length,
      inputs: [given[0]!, goesOn, ...states],
      differentiated: given.map((_, i) => i > 1 && wrt.includes(initial[i - 2]!)),
      incoming: dys.slice(initial.length).map((dy) => dy !== null),
      captured,
      // A second Loop cannot stack in the order of the first, so all factors come from the second.
      inputsAreStacked: false,
    },
    differentiate,
  )

  const storedStates = back.used.slice(2)
  const counted = !storedStates.includes(true) && back.saved.length === 0 && iterations === undefined
  const forward = op.Loop(m, go, initial, {
    body: iterationBody(
      given.map((x) => placeholder(x)),
      (...xs) => {
        const copies = cloneBody(iteration, xs)
        const now = (x: Value) => copies.get(x) ?? x
        const results = iteration.outputs.slice(0, 1 + states.length).map(now)
        return [...results, ...select(xs.slice(2), storedStates), ...back.saved.map(now), ...(counted ? [xs[0]!] : [])]
      },
    ),
  })
  const stacks = forward.slice(initial.length)
  const count =
    iterations === undefined ? op.Gather(op.Shape(stacks[0]!), scalar('int64', 0)) : scalar('int64', iterations)
  const last = op.Sub(count, 1)

  const carried = initial.flatMap((x, i) => (back.states[i] ? [dys[i] ?? zerosLike(x)] : []))
  const summed = captured.filter((_, i) => back.captured[i]!.sums)
  const start = [...carried, ...summed.map(zerosLike)]
  const scalars = [
    placeholder({ dtype: 'int64', shape: [] }, 'iteration'),
    placeholder({ dtype: 'bool', shape: [] }, 'again'),
  ]
  const result = op.Loop(count, null, start, {
    body: iterationBody([...scalars, ...start.map((x) => placeholder(x, 'gradient'))], (k, again, ...now) => {
      const t = op.Sub(last, k!)
      const slices = stacks.map((stack) => op.Gather(stack, t))
      const xs = states.map((x, i) => (storedStates[i] ? withShapeOf(slices.shift()!, x) : x))
      const saved = back.saved.map((x) => withShapeOf(slices.shift()!, x))
      const number = given[0]!.shape?.length === 1 ? op.Reshape(t, [1]) : t
      const dSlices = dys.slice(initial.length).flatMap((dy) => (dy ? [op.Gather(dy, t)] : []))
      const dxs = back.apply([number, goesOn, ...xs], saved, now.slice(0, carried.length), dSlices)
      const sums = dxs.sums.map((dx, i) => op.Add(now[carried.length + i]!, dx))
      return [again!, ...dxs.states, ...sums, ...dxs.factors]
    }),
  })
  const total = new GradientSums()
  const rest = [...result]
  for (const x of select(initial, back.states)) total.add(x, withShapeOf(rest.shift()!, x))
  for (const x of summed) total.add(x, withShapeOf(rest.shift()!, x))
  for (const [i, { products }] of back.captured.entries())
    for (const { a, b, alpha } of products)
      total.add(captured[i], withShapeOf(stackedMatMul({ a: rest[a.index]!, b: rest[b.index]!, alpha }), captured[i]!))
  return wrt.map((x) => total.get(x))
}

/** Number of iterations if it is a constant and the body never ends the loop early; else undefined. */
function constantIterationCount(m: Value | null, go: Value | null, of: Body): number | undefined {
  const iterations = m?.contents?.[0]
  const goesOn = (value: Value | null | undefined) => constantNumber(value) === 1
  const never =
    of.outputs[0] === of.inputs[1] ? go === null || goesOn(go) : (go === null || goesOn(go)) && goesOn(of.outputs[0])
  return typeof iterations === 'number' && never ? Math.max(0, iterations) : undefined
}

/** Results of an unrolled Loop; undefined for scan outputs of zero iterations. */
function unrollLoop(of: Body, iterations: number, initial: readonly Value[]): (Value | undefined)[] {
  let states = [...initial]
  const slices: Value[][] = of.outputs.slice(1 + initial.length).map(() => [])
  for (let iteration = 0; iteration < iterations; iteration++) {
    const number = constant(tensorFrom('int64', ones(of.inputs[0]!), [iteration]))
    const results = inline(of, [number, yes(of.inputs[1]!), ...states]).slice(1)
    states = results.slice(0, initial.length)
    for (const [i, stack] of slices.entries()) stack.push(op.Unsqueeze(results[initial.length + i]!, [0]))
  }
  return [...states, ...slices.map((stack) => (stack.length > 0 ? op.Concat(stack, { axis: 0 }) : undefined))]
}

/**
 * Dims of the iteration number and the condition: onnxruntime passes scalars or vectors of length 1, as the body
 * declares them.
 */
const ones = (declared: Value): readonly number[] => (declared.shape?.length === 1 ? [1] : [])
const yes = (declared: Value): Value => constant(tensorFrom('bool', ones(declared), [1]))
const iterationInput = (declared: Value): Value =>
  placeholder({ dtype: 'int64', shape: ones(declared), name: declared.name })

/** Type of a state: that of its initial value; the body's declaration supplies a missing shape. */
const typeOf = (declared: Value, initial: Value) => ({
  name: declared.name,
  dtype: initial.dtype,
  shape: initial.shape ?? declared.shape,
})
