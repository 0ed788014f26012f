import { body } from '../../../ir/scope.js'
import { axisOf, type Shape } from '../../../ir/shape.js'
import { capturesOf } from '../../../ir/topology.js'
import type { Body, Value } from '../../../ir/value.js'
import { op } from '../../../op/index.js'
import { inlined } from '../../../op/inline.js'
import type { ControlRule } from '../../rule.js'
import { zerosLike } from '../../zeros.js'
import { pullback } from './pullback.js'
import { refuseRandom } from './random.js'
import { placeholder, refuseChanging, roundBody, shapedLike, sizeOfBody } from './round.js'
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
 * its rounds computes a round of the first again, from the states it began with, which another run of the first Scan has
 * kept; it carries the gradients of the states and adds up those of captured values. Few rounds are written out instead.
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
  const states = initial.map((x, i) => placeholder({ dtype: x.dtype, shape: x.shape ?? of.inputs[i]?.shape }, 'state'))
  const slices = scanned.map((x, i) =>
    placeholder({ dtype: x.dtype, shape: without(x.shape, ins[i]!.axis) ?? of.inputs[count + i]?.shape }, 'slice'),
  )
  const round = body([...states, ...slices], (...xs) => {
    const results = inlined(of, xs)
    refuseChanging(states, results)
    return results
  })
  const back = pullback(
    {
      round,
      initially: initial.map((x) => wrt.includes(x)),
      given: scanned.map((x) => wrt.includes(x)),
      incoming: dys.slice(count).map((dy) => dy !== null),
      captured,
    },
    differentiate,
  )

  const kept = states.map((_, i) => back.used[i]!)
  const stacks = kept.includes(true)
    ? op
        .Scan([...initial, ...scanned], {
          body: roundBody(
            [...states, ...slices].map((x) => placeholder(x)),
            (...xs) => [...inlined(of, xs).slice(0, count), ...xs.slice(0, count).filter((_, i) => kept[i])],
          ),
          num_scan_inputs: scanned.length,
          scan_input_axes: ins.map(({ axis }) => axis),
          scan_input_directions: ins.map(({ reverse }) => reverse),
        })
        .slice(count)
    : []

  const carried = states.flatMap((_, i) => (back.states[i] ? [dys[i] ?? zerosLike(initial[i]!)] : []))
  const reached = captured.filter((_, i) => back.reached[i])
  const start = [...carried, ...reached.map(zerosLike)]
  const read: [Value, Course][] = [
    ...stacks.map((x): [Value, Course] => [x, { axis: 0, reverse: 1 }]),
    ...scanned.flatMap((x, i): [Value, Course][] => (back.used[count + i] ? [[x, turned(ins[i]!)]] : [])),
    ...dys.slice(count).flatMap((dy, i): [Value, Course][] => (dy ? [[dy, turned(outs[i]!)]] : [])),
  ]
  // Something has to be read for there to be rounds.
  if (read.length === 0) read.push([scanned[0]!, turned(ins[0]!)])
  const answers = ins.filter((_, i) => back.answered[i]).map(turned)
  const result = op.Scan([...start, ...read.map(([x]) => x)], {
    body: roundBody(
      [
        ...start.map((x) => placeholder(x, 'gradient')),
        ...read.map(([x, { axis }]) => placeholder({ dtype: x.dtype, shape: without(x.shape, axis) }, 'slice')),
      ],
      (...all) => {
        const now = all.slice(0, start.length)
        const rest = all.slice(start.length)
        const xs = [...states, ...slices].map((x, i) => (back.used[i] ? shapedLike(rest.shift()!, x) : x))
        const dxs = back.apply(xs, now.slice(0, carried.length), rest)
        return [...dxs.states, ...dxs.captured.map((dx, i) => op.Add(now[carried.length + i]!, dx)), ...dxs.given]
      },
    ),
    num_scan_inputs: read.length,
    scan_input_axes: read.map(([, { axis }]) => axis),
    scan_input_directions: read.map(([, { reverse }]) => reverse),
    scan_output_axes: answers.map(({ axis }) => axis),
    scan_output_directions: answers.map(({ reverse }) => reverse),
  })
  const total = new Total()
  let next = 0
  for (const [i, x] of initial.entries()) if (back.states[i]) total.add(x, shapedLike(result[next++]!, x))
  for (const x of reached) total.add(x, shapedLike(result[next++]!, x))
  for (const [i, x] of scanned.entries()) if (back.answered[i]) total.add(x, shapedLike(result[next++]!, x))
  return wrt.map((x) => total.of(x))
}

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
