import { body } from '../../../ir/scope.js'
import { axisOf, type Shape } from '../../../ir/shape.js'
import { capturesOf } from '../../../ir/topology.js'
import type { Body, Value } from '../../../ir/value.js'
import { copied, inlined } from '../../../op/inline.js'
import { op } from '../../../op/op.js'
import type { ControlRule } from '../../rule.js'
import { zerosLike } from '../../zeros.js'
import { stackedProduct } from './product.js'
import { type Factor, type Pullback, pullback, where } from './pullback.js'
import { refuseRandom } from './random.js'
import { changeOf, placeholder, refuseChange, roundBody, shapedLike, sizeOfBody } from './round.js'
import { Total } from './total.js'
import { isShort } from './unroll.js'

interface ScanAttributes {
  readonly body: Body
  readonly num_scan_inputs: number
  readonly scan_input_axes?: readonly number[]
  readonly scan_input_directions?: readonly number[]
  readonly scan_output_axes?: readonly number[]
  readonly scan_output_directions?: readonly number[]
}

/** How a tensor is cut into slices or put together from them: along `axis`, from its end where `reverse` is 1. */
interface Course {
  readonly axis: number
  readonly reverse: number
}

/**
 * Scan is differentiated by one that reads what the first read, and writes gradients of it, in the opposite direction. Each of
 * its rounds computes a round of the first again, from the states it began with and the results of costly operators, which
 * another run of the first Scan has kept; it carries the gradients of the states and adds up those of captured values. Few
 * rounds are written out instead.
 */
export const scan: ControlRule = (node, dys, wrt, differentiate) => {
  const attributes = node.attributes as unknown as ScanAttributes
  const { body: of } = attributes
  refuseRandom(of)
  const count = node.inputs.length - attributes.num_scan_inputs
  const initial = node.inputs.slice(0, count) as Value[]
  const scanned = node.inputs.slice(count) as Value[]
  const ins = scanned.map((_, i) => course(attributes.scan_input_axes?.[i], attributes.scan_input_directions?.[i]))
  const outs = dys
    .slice(count)
    .map((_, i) => course(attributes.scan_output_axes?.[i], attributes.scan_output_directions?.[i]))
  const rounds = scanned[0]?.shape?.[axisOf(ins[0]!.axis, scanned[0].shape.length)]
  if (typeof rounds === 'number' && rounds > 0 && isShort(rounds, sizeOfBody(of))) {
    const ys = unrolled(of, rounds, initial, scanned, ins, outs)
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
  const round = body(inputs, () => inlined(of, inputs))
  refuseChange(changeOf(inputs.slice(0, count), round.outputs))
  const back = pullback(
    {
      of: round,
      lead: 0,
      skip: 0,
      count,
      inputs,
      asked: node.inputs.map((x) => x !== null && wrt.includes(x)),
      incoming: dys.slice(count).map((dy) => dy !== null),
      captured,
      stacked: true,
    },
    differentiate,
  )

  const kept = inputs.map((_, i) => i < count && (back.used[i]! || isFactor(back, i)))
  const stacks =
    kept.includes(true) || back.saved.length > 0
      ? op
          .Scan([...initial, ...scanned], {
            body: roundBody(
              inputs.map((x) => placeholder(x)),
              (...xs) => {
                const copies = copied(round, xs)
                const now = (x: Value) => copies.get(x) ?? x
                return [...round.outputs.slice(0, count).map(now), ...where(xs, kept), ...back.saved.map(now)]
              },
            ),
            num_scan_inputs: scanned.length,
            scan_input_axes: ins.map(({ axis }) => axis),
            scan_input_directions: ins.map(({ reverse }) => reverse),
          })
          .slice(count)
      : []
  const stackOf = new Map(where(inputs, kept).map((x, i) => [x, stacks[i]!]))

  const carried = initial.flatMap((x, i) => (back.states[i] ? [dys[i] ?? zerosLike(x)] : []))
  const summed = captured.filter((_, i) => back.captured[i]!.sums)
  const start = [...carried, ...summed.map(zerosLike)]
  const read: [Value, Course][] = [
    ...where(inputs, back.used).flatMap((x): [Value, Course][] =>
      stackOf.has(x) ? [[stackOf.get(x)!, backwards]] : [],
    ),
    ...scanned.flatMap((x, i): [Value, Course][] => (back.used[count + i] ? [[x, turned(ins[i]!)]] : [])),
    ...stacks.slice(stackOf.size).map((x): [Value, Course] => [x, backwards]),
    ...dys.slice(count).flatMap((dy, i): [Value, Course][] => (dy ? [[dy, turned(outs[i]!)]] : [])),
  ]
  // Something has to be read for there to be rounds.
  if (read.length === 0) read.push([scanned[0]!, turned(ins[0]!)])
  const answers = [...where(ins, back.answered.slice(count)).map(turned), ...back.factors.map(() => backwards)]
  const result = op.Scan([...start, ...read.map(([x]) => x)], {
    body: roundBody(
      [
        ...start.map((x) => placeholder(x, 'gradient')),
        ...read.map(([x, { axis }]) => placeholder({ dtype: x.dtype, shape: without(x.shape, axis) }, 'slice')),
      ],
      (...all) => {
        const [now, rest] = [all.slice(0, start.length), all.slice(start.length)]
        const xs = inputs.map((x, i) => (back.used[i] ? shapedLike(rest.shift()!, x) : x))
        const saved = rest.splice(0, back.saved.length).map((x, i) => shapedLike(x, back.saved[i]!))
        const dxs = back.apply(xs, saved, now.slice(0, carried.length), rest)
        const sums = dxs.sums.map((dx, i) => op.Add(now[carried.length + i]!, dx))
        return [...dxs.states, ...sums, ...dxs.inputs, ...dxs.factors]
      },
    ),
    num_scan_inputs: read.length,
    scan_input_axes: read.map(([, { axis }]) => axis),
    scan_input_directions: read.map(([, { reverse }]) => reverse),
    scan_output_axes: answers.map(({ axis }) => axis),
    scan_output_directions: answers.map(({ reverse }) => reverse),
  })
  const total = new Total()
  const rest = [...result]
  for (const x of where(initial, back.states)) total.add(x, shapedLike(rest.shift()!, x))
  for (const x of summed) total.add(x, shapedLike(rest.shift()!, x))
  const dScanned = new Map(
    scanned.flatMap((x, i) => (back.answered[count + i] ? [[i, shapedLike(rest.shift()!, x)]] : [])),
  )
  for (const [i, dx] of dScanned) total.add(scanned[i], dx)
  // What is left are factors, in the order of the rounds of the first Scan, as its stacks are.
  const factor = ({ kind, index }: Factor): Value => {
    if (kind === 'result') return rest[index]!
    if (index < count) return stackOf.get(inputs[index]!)!
    const i = index - count
    return inRounds(kind === 'input' ? scanned[i]! : dScanned.get(i)!, ins[i]!)
  }
  for (const [i, { products }] of back.captured.entries())
    for (const { a, b, alpha } of products)
      total.add(captured[i], shapedLike(stackedProduct({ a: factor(a), b: factor(b), alpha }), captured[i]!))
  return wrt.map((x) => total.of(x))
}

const isFactor = ({ captured }: Pullback, input: number): boolean =>
  captured.some(({ products }) =>
    products.some(({ a, b }) => [a, b].some(({ kind, index }) => kind === 'input' && index === input)),
  )

/** A stack of matrices with its slices in the order of the rounds, along the first axis. */
function inRounds(x: Value, { axis, reverse }: Course): Value {
  const at = axisOf(axis, 3)
  const first = at === 0 ? x : op.Transpose(x, { perm: [at, ...[0, 1, 2].filter((other) => other !== at)] })
  return reverse ? op.Slice(first, [-1], [-(2 ** 63)], [0], [-1]) : first
}

const backwards: Course = { axis: 0, reverse: 1 }
const course = (axis = 0, reverse = 0): Course => ({ axis, reverse })
const turned = ({ axis, reverse }: Course): Course => ({ axis, reverse: 1 - reverse })

const without = (shape: Shape | undefined, axis: number): Shape | undefined =>
  shape?.toSpliced(axisOf(axis, shape.length), 1)

/** Results of a scan written out. */
function unrolled(
  of: Body,
  rounds: number,
  initial: readonly Value[],
  scanned: readonly Value[],
  ins: readonly Course[],
  outs: readonly Course[],
): Value[] {
  const cut = scanned.map((x, i) => inOrder(parts(x, ins[i]!.axis, rounds), ins[i]!))
  let states = [...initial]
  const stacks: Value[][] = outs.map(() => [])
  for (let round = 0; round < rounds; round++) {
    const results = inlined(of, [...states, ...cut.map((slices) => slices[round]!)])
    states = results.slice(0, initial.length)
    for (const [i, stack] of stacks.entries()) stack.push(op.Unsqueeze(results[initial.length + i]!, [outs[i]!.axis]))
  }
  return [...states, ...stacks.map((stack, i) => joined(inOrder(stack, outs[i]!), outs[i]!.axis))]
}

const inOrder = (slices: readonly Value[], { reverse }: Course): readonly Value[] =>
  reverse ? slices.toReversed() : slices

const parts = (x: Value, axis: number, rounds: number): readonly Value[] =>
  (rounds === 1 ? [x] : op.Split(x, Array<number>(rounds).fill(1), { axis })).map((part) => op.Squeeze(part, [axis]))

const joined = (slices: readonly Value[], axis: number): Value =>
  slices.length === 1 ? slices[0]! : op.Concat(slices, { axis })
