import { body } from '../../../ir/body.js'
import { axisOf, type Shape } from '../../../ir/shape.js'
import { capturesOf } from '../../../ir/topology.js'
import type { Body, Node, Value } from '../../../ir/value.js'
import { cloneBody, inline } from '../../../op/inline.js'
import { op } from '../../../op/op.js'
import { zerosLike } from '../../active.js'
import { addRepeated } from '../../repeated.js'
import type { ControlRule } from '../../rule.js'
import {
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
import { buildIterationVjp, type Factor, type IterationVjp, select, stackedMatMul } from './vjp.js'

interface ScanAttributes {
  readonly body: Body
  readonly num_scan_inputs: number
  readonly scan_input_axes?: readonly number[]
  readonly scan_input_directions?: readonly number[]
  readonly scan_output_axes?: readonly number[]
  readonly scan_output_directions?: readonly number[]
}

/**
 * Axis along which a tensor is split into slices or concatenated from them, and the direction: from the end if
 * `reverse` is 1.
 */
interface SliceOrder {
  readonly axis: number
  readonly reverse: number
}

/** The operands of a Scan and how they are sliced. */
interface ScanParts {
  readonly of: Body
  /** Initial states. */
  readonly initial: readonly Value[]
  /** Tensors that are read in slices. */
  readonly scanned: readonly Value[]
  /** Order of the slices of each scanned tensor. */
  readonly ins: readonly SliceOrder[]
  /** Order of the slices of each scan output. */
  readonly outs: readonly SliceOrder[]
}

/**
 * Gradient rule of Scan: a second Scan that reads the inputs of the first, and writes their gradients, in the opposite
 * direction. Each iteration recomputes one of the first Scan from its initial states and the results of expensive
 * operators, which another run of the first Scan has stored (`shareRepeated` leaves only this run). It carries the
 * gradients of the states and sums those of captured values. A few iterations are unrolled instead.
 */
export const scanRule: ControlRule = (node, dys, wrt, differentiate) => {
  const parts = partsOf(node)
  const { of, initial, scanned, ins } = parts
  const count = initial.length
  rejectRandomNodes(of)
  const iterations = scanned[0]?.shape?.[axisOf(ins[0]!.axis, scanned[0].shape.length)]
  if (typeof iterations === 'number' && iterations > 0 && isFasterUnrolled(iterations, countNodes(of))) {
    const ys = unrollScan(parts, iterations)
    addRepeated(node, ys)
    return differentiate(
      ys.flatMap((y, i) => (dys[i] ? [[y, dys[i]] as const] : [])),
      wrt,
    )
  }

  const captured = capturesOf(node).filter((x) => wrt.includes(x))
  const inputs = [
    ...initial.map((x, i) => placeholder({ dtype: x.dtype, shape: x.shape ?? of.inputs[i]?.shape }, 'state')),
    ...scanned.map((x, i) =>
      placeholder({ dtype: x.dtype, shape: without(x.shape, ins[i]!.axis) ?? of.inputs[count + i]?.shape }, 'slice'),
    ),
  ]
  const iteration = body(inputs, () => inline(of, inputs))
  rejectShapeChange(findShapeChange(inputs.slice(0, count), iteration.outputs))
  const back = buildIterationVjp(
    {
      of: iteration,
      lead: 0,
      skip: 0,
      count,
      inputs,
      differentiated: node.inputs.map((x) => x !== null && wrt.includes(x)),
      incoming: dys.slice(count).map((dy) => dy !== null),
      captured,
      inputsAreStacked: true,
    },
    differentiate,
  )
  const stored = storeForward(node, parts, iteration, back)
  const summed = captured.filter((_, i) => back.captured[i]!.sums)
  const results = [...scanBackwards({ parts, inputs, back, stored, dys, summed })]

  const total = new GradientSums()
  for (const x of select(initial, back.states)) total.add(x, withShapeOf(results.shift()!, x))
  for (const x of summed) total.add(x, withShapeOf(results.shift()!, x))
  const dScanned = new Map(
    scanned.flatMap((x, i) => (back.inputsWithGradient[count + i] ? [[i, withShapeOf(results.shift()!, x)]] : [])),
  )
  for (const [i, dx] of dScanned) total.add(scanned[i], dx)
  // The remaining results are factors, in the iteration order of the first Scan, as its stacks are.
  const factor = ({ kind, index }: Factor): Value => {
    if (kind === 'result') return results[index]!
    if (index < count) return stored.states.get(index)!
    const i = index - count
    return inIterationOrder(kind === 'input' ? scanned[i]! : dScanned.get(i)!, ins[i]!)
  }
  for (const [i, { products }] of back.captured.entries())
    for (const { a, b, alpha } of products)
      total.add(captured[i], withShapeOf(stackedMatMul({ a: factor(a), b: factor(b), alpha }), captured[i]!))
  return wrt.map((x) => total.get(x))
}

function partsOf(node: Node): ScanParts {
  const attributes = node.attributes as unknown as ScanAttributes
  const count = node.inputs.length - attributes.num_scan_inputs
  const scanned = node.inputs.slice(count) as Value[]
  return {
    of: attributes.body,
    initial: node.inputs.slice(0, count) as Value[],
    scanned,
    ins: scanned.map((_, i) => sliceOrder(attributes.scan_input_axes?.[i], attributes.scan_input_directions?.[i])),
    outs: node.outputs
      .slice(count)
      .map((_, i) => sliceOrder(attributes.scan_output_axes?.[i], attributes.scan_output_directions?.[i])),
  }
}

/** Values of all iterations of a Scan, stored by another run of it: in iteration order along axis 0. */
interface StoredIterations {
  /** States before each iteration, by their number; only those that the backward pass reads. */
  readonly states: ReadonlyMap<number, Value>
  /** The `saved` values of the vector-Jacobian product. */
  readonly saved: readonly Value[]
}

/** Runs a Scan again, with what its backward pass reads as further results. `shareRepeated` leaves this run only. */
function storeForward(node: Node, parts: ScanParts, iteration: Body, back: IterationVjp): StoredIterations {
  const { initial, scanned, ins, outs } = parts
  const states = initial.flatMap((_, i) => (back.used[i]! || isFactor(back, i) ? [i] : []))
  if (states.length === 0 && back.saved.length === 0) return { states: new Map(), saved: [] }
  const stacked = [...states, ...back.saved].map(() => sliceOrder())
  const results = op.Scan([...initial, ...scanned], {
    body: iterationBody(
      iteration.inputs.map((x) => placeholder(x)),
      (...xs) => {
        const copies = cloneBody(iteration, xs)
        const now = (x: Value) => copies.get(x) ?? x
        return [...iteration.outputs.map(now), ...states.map((i) => xs[i]!), ...back.saved.map(now)]
      },
    ),
    num_scan_inputs: scanned.length,
    ...inputOrders(ins),
    ...outputOrders([...outs, ...stacked]),
  })
  const own = results.slice(0, node.outputs.length)
  for (const [i, y] of own.entries()) withShapeOf(y, node.outputs[i]!)
  addRepeated(node, own)
  const stacks = results.slice(own.length)
  return { states: new Map(states.map((i, at) => [i, stacks[at]!])), saved: stacks.slice(states.length) }
}

/**
 * Runs the vector-Jacobian product of each iteration, from the last to the first.
 * @returns gradients of the active states, sums of the captured values in `summed`, gradients of the scanned tensors,
 *   stacked factors
 */
function scanBackwards({
  parts: { initial, scanned, ins, outs },
  inputs,
  back,
  stored,
  dys,
  summed,
}: {
  readonly parts: ScanParts
  readonly inputs: readonly Value[]
  readonly back: IterationVjp
  readonly stored: StoredIterations
  readonly dys: readonly (Value | null)[]
  readonly summed: readonly Value[]
}): readonly Value[] {
  const count = initial.length
  const carried = initial.flatMap((x, i) => (back.states[i] ? [dys[i] ?? zerosLike(x)] : []))
  const start = [...carried, ...summed.map(zerosLike)]
  const read: [Value, SliceOrder][] = [
    ...[...stored.states].flatMap(([i, x]): [Value, SliceOrder][] => (back.used[i] ? [[x, backwards]] : [])),
    ...scanned.flatMap((x, i): [Value, SliceOrder][] => (back.used[count + i] ? [[x, reverseOf(ins[i]!)]] : [])),
    ...stored.saved.map((x): [Value, SliceOrder] => [x, backwards]),
    ...dys.slice(count).flatMap((dy, i): [Value, SliceOrder][] => (dy ? [[dy, reverseOf(outs[i]!)]] : [])),
  ]
  // A Scan without scan inputs would have no iterations.
  if (read.length === 0) read.push([scanned[0]!, reverseOf(ins[0]!)])
  return op.Scan([...start, ...read.map(([x]) => x)], {
    body: iterationBody(
      [
        ...start.map((x) => placeholder(x, 'gradient')),
        ...read.map(([x, { axis }]) => placeholder({ dtype: x.dtype, shape: without(x.shape, axis) }, 'slice')),
      ],
      (...all) => {
        const [now, rest] = [all.slice(0, start.length), all.slice(start.length)]
        const xs = inputs.map((x, i) => (back.used[i] ? withShapeOf(rest.shift()!, x) : x))
        const saved = rest.splice(0, back.saved.length).map((x, i) => withShapeOf(x, back.saved[i]!))
        const dxs = back.apply(xs, saved, now.slice(0, carried.length), rest)
        const sums = dxs.sums.map((dx, i) => op.Add(now[carried.length + i]!, dx))
        return [...dxs.states, ...sums, ...dxs.inputs, ...dxs.factors]
      },
    ),
    num_scan_inputs: read.length,
    ...inputOrders(read.map(([, order]) => order)),
    ...outputOrders([
      ...select(ins, back.inputsWithGradient.slice(count)).map(reverseOf),
      ...back.factors.map(() => backwards),
    ]),
  })
}

const isFactor = ({ captured }: IterationVjp, input: number): boolean =>
  captured.some(({ products }) =>
    products.some(({ a, b }) => [a, b].some(({ kind, index }) => kind === 'input' && index === input)),
  )

/** A stack of matrices with its slices in iteration order along the first axis. */
function inIterationOrder(x: Value, { axis, reverse }: SliceOrder): Value {
  const at = axisOf(axis, 3)
  const first = at === 0 ? x : op.Transpose(x, { perm: [at, ...[0, 1, 2].filter((other) => other !== at)] })
  return reverse ? op.Slice(first, [-1], [-(2 ** 63)], [0], [-1]) : first
}

const backwards: SliceOrder = { axis: 0, reverse: 1 }
const sliceOrder = (axis = 0, reverse = 0): SliceOrder => ({ axis, reverse })
const inputOrders = (orders: readonly SliceOrder[]) => ({
  scan_input_axes: orders.map(({ axis }) => axis),
  scan_input_directions: orders.map(({ reverse }) => reverse),
})
const outputOrders = (orders: readonly SliceOrder[]) => ({
  scan_output_axes: orders.map(({ axis }) => axis),
  scan_output_directions: orders.map(({ reverse }) => reverse),
})
const reverseOf = ({ axis, reverse }: SliceOrder): SliceOrder => ({ axis, reverse: 1 - reverse })

const without = (shape: Shape | undefined, axis: number): Shape | undefined =>
  shape?.toSpliced(axisOf(axis, shape.length), 1)

/** Results of an unrolled Scan. */
function unrollScan({ of, initial, scanned, ins, outs }: ScanParts, iterations: number): Value[] {
  const cut = scanned.map((x, i) => inOrder(splitSlices(x, ins[i]!.axis, iterations), ins[i]!))
  let states = [...initial]
  const stacks: Value[][] = outs.map(() => [])
  for (let iteration = 0; iteration < iterations; iteration++) {
    const results = inline(of, [...states, ...cut.map((slices) => slices[iteration]!)])
    states = results.slice(0, initial.length)
    for (const [i, stack] of stacks.entries()) stack.push(op.Unsqueeze(results[initial.length + i]!, [outs[i]!.axis]))
  }
  return [...states, ...stacks.map((stack, i) => joinSlices(inOrder(stack, outs[i]!), outs[i]!.axis))]
}

const inOrder = (slices: readonly Value[], { reverse }: SliceOrder): readonly Value[] =>
  reverse ? slices.toReversed() : slices

const splitSlices = (x: Value, axis: number, iterations: number): readonly Value[] =>
  (iterations === 1 ? [x] : op.Split(x, Array<number>(iterations).fill(1), { axis })).map((part) =>
    op.Squeeze(part, [axis]),
  )

const joinSlices = (slices: readonly Value[], axis: number): Value =>
  slices.length === 1 ? slices[0]! : op.Concat(slices, { axis })
