import { int64s, scalar } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import { topological } from '../../ir/topology.js'
import type { Body, Value } from '../../ir/value.js'
import type { control } from '../../op/definitions/control.js'
import { inline } from '../../op/inline.js'
import { op } from '../../op/op.js'
import type { Lowerings } from '../lowering.js'

/** Largest number of nodes that an unrolled Scan may have: every node takes time to build and to start. */
const LARGEST = 2048

/**
 * Writes the iterations of a Scan one after the other, so that none waits for the CPU. Null if their number is not known
 * or they have too many nodes.
 */
function unroll(
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
  const nodes = topological(of.outputs, ({ scope }) => scope === of.scope).length
  if (typeof length !== 'number' || length === 0 || length * (nodes + scannedCount) > LARGEST) return null
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

export const controlLowerings = {
  Scan: (values, attributes) =>
    unroll(
      values as readonly Value[],
      attributes.body,
      attributes.num_scan_inputs,
      attributes.scan_input_axes,
      attributes.scan_input_directions,
      attributes.scan_output_axes,
      attributes.scan_output_directions,
    ),
} satisfies Lowerings<typeof control>
