import { topological } from '../../ir/topology.js'
import type { Value } from '../../ir/value.js'
import { filterAxesOf } from '../../op/facts.js'

/** By parameter name, the axes that count the filters: one filter per index along these axes. */
export type FilterAxes = ReadonlyMap<string, readonly number[]>

/**
 * Finds the filters of parameters as in Li et al. (2018), arXiv 1712.09913, section 4: a filter produces one output
 * channel or one neuron. Its axes depend on the operator that reads the parameter (`filterAxes` of its definition); the
 * default is axis 0. A vector has no filters.
 */
export function findFilterAxes(outputs: readonly Value[], parameters: ReadonlyMap<string, Value>): FilterAxes {
  const found = new Map<Value, readonly number[]>()
  for (const node of topological(outputs)) {
    for (const [i, x] of node.inputs.entries()) {
      if (!x?.shape) continue
      const axes = filterAxesOf(node, i, x.shape.length)
      if (axes) assignAxes(x, axes, found)
    }
  }
  return new Map([...parameters].map(([name, value]) => [name, isVector(value) ? [] : (found.get(value) ?? [0])]))
}

/** Whether a parameter is a bias or the scale of a norm, also in the shape [1, C, 1, 1]. */
const isVector = ({ shape }: Value): boolean => (shape ?? []).filter((dim) => dim !== 1).length <= 1

/** Assigns axes to the parameter upstream of transposes and casts. */
function assignAxes(x: Value, axes: readonly number[], found: Map<Value, readonly number[]>): void {
  const { source } = x
  if (source.kind === 'parameter') {
    if (!found.has(x)) found.set(x, axes)
    return
  }
  const upstream = source.kind === 'node' ? source.inputs[0] : undefined
  if (source.kind !== 'node' || !upstream?.shape) return
  if (source.operator === 'Identity' || source.operator === 'Cast') assignAxes(upstream, axes, found)
  if (source.operator === 'Transpose') {
    const rank = upstream.shape.length
    const { perm = Array.from({ length: rank }, (_, i) => rank - 1 - i) } = source.attributes as { perm?: number[] }
    assignAxes(
      upstream,
      axes.map((axis) => perm[axis]!),
      found,
    )
  }
}
