import { int64s, scalar } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import { nodesOf } from '../../ir/topology.js'
import type { Body, Value } from '../../ir/value.js'
import { knownNumbers } from '../../op/contents.js'
import type { control } from '../../op/definitions/control.js'
import { inline, knownCondition } from '../../op/inline.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

/** Largest number of nodes that an unrolled Loop or Scan may have: every node takes time to build and to start. */
const maxUnrolledNodes = 2048

/**
 * Writes the iterations of a Scan one after the other, so that none waits for the CPU. Null if their number is not
 * known or they have too many nodes.
 */
function unrollScan(
  values: readonly Value[],
  of: Body,
  scannedCount: number,
  axes: readonly number[] | undefined,
  directions: readonly number[] | undefined,
  outputAxes: readonly number[] | undefined,
  outputDirections: readonly number[] | undefined,
): readonly Value[] | null {
  const stateCount = values.length - scannedCount
  const scanned = values.slice(stateCount)
  const rank = scanned[0]!.shape?.length
  const length = rank === undefined ? undefined : scanned[0]!.shape![axisOf(axes?.[0] ?? 0, rank)]
  if (typeof length !== 'number' || length === 0 || length * (countNodes(of) + scannedCount) > maxUnrolledNodes)
    return null
  if (of.outputs.slice(stateCount).some(({ shape }) => shape === undefined)) return null
  let states = values.slice(0, stateCount)
  const slices: (readonly Value[])[] = []
  for (let step = 0; step < length; step++) {
    const now = scanned.map((x, i) =>
      op.Gather(x, scalar('int64', directions?.[i] ? length - 1 - step : step), { axis: axes?.[i] ?? 0 }),
    )
    const results = inline(of, [...states, ...now])
    states = results.slice(0, stateCount)
    slices.push(results.slice(stateCount))
  }
  const stacked = of.outputs.slice(stateCount).map(({ shape }, i) => {
    const axis = axisOf(outputAxes?.[i] ?? 0, shape!.length + 1)
    const parts = slices.map((results) => op.Unsqueeze(results[i]!, int64s([axis])))
    return op.Concat(outputDirections?.[i] ? parts.reverse() : parts, { axis })
  })
  return [...states, ...stacked]
}

const countNodes = (of: Body): number => nodesOf(of).length

/** Writes the rounds of a Loop one after the other. Null if their number is not known or they have too many nodes. */
function unrollLoop(
  count: Value | null,
  condition: Value | null,
  initial: readonly Value[],
  of: Body,
): readonly Value[] | null {
  const rounds = count ? knownNumbers(count)?.[0] : Number.POSITIVE_INFINITY
  let goesOn = condition ? knownCondition(condition) : true
  if (rounds === undefined) return null
  let states = initial
  const slices: (readonly Value[])[] = []
  for (let round = 0; goesOn && round < rounds; round++) {
    if ((round + 1) * countNodes(of) > maxUnrolledNodes) return null
    const [again, ...results] = inline(of, [scalar('int64', round), scalar('bool', 1), ...states])
    goesOn = knownCondition(again!)
    states = results.slice(0, initial.length)
    slices.push(results.slice(initial.length))
  }
  // The condition depends on data, or nothing is there to stack.
  if (goesOn === undefined || (slices.length === 0 && of.outputs.length > initial.length + 1)) return null
  const stacked = (slices[0] ?? []).map((_, i) =>
    op.Concat(
      slices.map((results) => op.Unsqueeze(results[i]!, int64s([0]))),
      { axis: 0 },
    ),
  )
  return [...states, ...stacked]
}

export const controlLowerings = {
  Loop: ([count, condition, ...initial], { body }) => unrollLoop(count, condition, initial as readonly Value[], body),
  Scan: (values, attributes) =>
    unrollScan(
      values as readonly Value[],
      attributes.body,
      attributes.num_scan_inputs,
      attributes.scan_input_axes,
      attributes.scan_input_directions,
      attributes.scan_output_axes,
      attributes.scan_output_directions,
    ),
} satisfies Lowerings<typeof control>
