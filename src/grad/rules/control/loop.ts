import { body } from '../../../ir/body.js'
import { constant, constantNumber, scalar, tensorFrom } from '../../../ir/leaf.js'
import { capturesOf } from '../../../ir/topology.js'
import type { Body, Node, Value } from '../../../ir/value.js'
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
import { buildIterationVjp, type IterationVjp, select, stackedMatMul } from './vjp.js'

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
  const inputs = [given[0]!, yes(of.inputs[1]!), ...states]
  const back = buildIterationVjp(
    {
      of: iteration,
      lead: 2,
      skip: 1,
      count: states.length,
      inputs,
      differentiated: given.map((_, i) => i > 1 && wrt.includes(initial[i - 2]!)),
      incoming: dys.slice(initial.length).map((dy) => dy !== null),
      captured,
      // A second Loop cannot stack in the order of the first, so all factors come from the second.
      inputsAreStacked: false,
    },
    differentiate,
  )
  const stored = storeForward(node, iteration, back, iterations)
  const summed = captured.filter((_, i) => back.captured[i]!.sums)
  const results = [...loopBackwards({ initial, inputs, back, stored, dys, summed })]

  const total = new GradientSums()
  for (const x of select(initial, back.states)) total.add(x, withShapeOf(results.shift()!, x))
  for (const x of summed) total.add(x, withShapeOf(results.shift()!, x))
  // The remaining results are factors.
  for (const [i, { products }] of back.captured.entries())
    for (const { a, b, alpha } of products)
      total.add(
        captured[i],
        withShapeOf(stackedMatMul({ a: results[a.index]!, b: results[b.index]!, alpha }), captured[i]!),
      )
  return wrt.map((x) => total.get(x))
}

/** Values of all iterations of a Loop, stored by another run of it. */
interface StoredIterations {
  /** The number of iterations. */
  readonly count: Value
  /** The states that the backward pass reads, then the `saved` values, in iteration order along axis 0. */
  readonly stacks: readonly Value[]
}

/** Runs a Loop again, with what its backward pass reads as further results. */
function storeForward(
  node: Node,
  iteration: Body,
  back: IterationVjp,
  iterations: number | undefined,
): StoredIterations {
  const [m = null, go = null] = node.inputs
  const initial = node.inputs.slice(2) as Value[]
  const storedStates = back.used.slice(2)
  const counted = !storedStates.includes(true) && back.saved.length === 0 && iterations === undefined
  const results = op.Loop(m, go, initial, {
    body: iterationBody(
      iteration.inputs.map((x) => placeholder(x)),
      (...xs) => {
        const copies = cloneBody(iteration, xs)
        const now = (x: Value) => copies.get(x) ?? x
        const own = iteration.outputs.slice(0, 1 + initial.length).map(now)
        return [...own, ...select(xs.slice(2), storedStates), ...back.saved.map(now), ...(counted ? [xs[0]!] : [])]
      },
    ),
  })
  const stacks = results.slice(initial.length)
  const count =
    iterations === undefined ? op.Gather(op.Shape(stacks[0]!), scalar('int64', 0)) : scalar('int64', iterations)
  return { count, stacks }
}

/**
 * Runs the vector-Jacobian product of each iteration, from the last to the first.
 * @returns gradients of the active states, sums of the captured values in `summed`, stacked factors
 */
function loopBackwards({
  initial,
  inputs,
  back,
  stored: { count, stacks },
  dys,
  summed,
}: {
  readonly initial: readonly Value[]
  readonly inputs: readonly Value[]
  readonly back: IterationVjp
  readonly stored: StoredIterations
  readonly dys: readonly (Value | null)[]
  readonly summed: readonly Value[]
}): readonly Value[] {
  const last = op.Sub(count, 1)
  const carried = initial.flatMap((x, i) => (back.states[i] ? [dys[i] ?? zerosLike(x)] : []))
  const start = [...carried, ...summed.map(zerosLike)]
  const scalars = [
    placeholder({ dtype: 'int64', shape: [] }, 'iteration'),
    placeholder({ dtype: 'bool', shape: [] }, 'again'),
  ]
  return op.Loop(count, null, start, {
    body: iterationBody([...scalars, ...start.map((x) => placeholder(x, 'gradient'))], (k, again, ...now) => {
      const t = op.Sub(last, k!)
      const slices = stacks.map((stack) => op.Gather(stack, t))
      const [number, goesOn, ...states] = inputs
      const xs = states.map((x, i) => (back.used[2 + i] ? withShapeOf(slices.shift()!, x) : x))
      const saved = back.saved.map((x) => withShapeOf(slices.shift()!, x))
      const at = number!.shape?.length === 1 ? op.Reshape(t, [1]) : t
      const dSlices = dys.slice(initial.length).flatMap((dy) => (dy ? [op.Gather(dy, t)] : []))
      const dxs = back.apply([at, goesOn!, ...xs], saved, now.slice(0, carried.length), dSlices)
      const sums = dxs.sums.map((dx, i) => op.Add(now[carried.length + i]!, dx))
      return [again!, ...dxs.states, ...sums, ...dxs.factors]
    }),
  })
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
