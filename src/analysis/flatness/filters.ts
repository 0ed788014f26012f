import { topological } from '../../ir/topology.js'
import type { Value } from '../../ir/value.js'
import { filterAxesOf } from '../../op/facts.js'

/** By parameter name, the axes that count its filters: what is left of the tensor at one place of these is one filter. */
export type FilterAxes = ReadonlyMap<string, readonly number[]>

/**
 * The filters of Li et al. (2018), arXiv 1712.09913, section 4: what produces one output channel or one neuron. Their axis
 * depends on the operator that reads the parameter; where none of these does, it is the first. A vector has no filters.
 */
export function filterAxes(outputs: readonly Value[], parameters: ReadonlyMap<string, Value>): FilterAxes {
  const found = new Map<Value, readonly number[]>()
  for (const node of topological(outputs)) {
    for (const [i, x] of node.inputs.entries()) {
      if (!x?.shape) continue
      const axes = filterAxesOf(node, i, x.shape.length)
      if (axes) follow(x, axes, found)
    }
  }
  return new Map([...parameters].map(([name, value]) => [name, isVector(value) ? [] : (found.get(value) ?? [0])]))
}

/** Biases and norms' scales, also those written as [1, C, 1, 1]. */
const isVector = ({ shape }: Value): boolean => (shape ?? []).filter((dim) => dim !== 1).length <= 1

/** To the parameter behind transposes and changes of type. */
function follow(x: Value, axes: readonly number[], found: Map<Value, readonly number[]>): void {
  const { source } = x
  if (source.kind === 'parameter') {
    if (!found.has(x)) found.set(x, axes)
    return
  }
  const behind = source.kind === 'node' ? source.inputs[0] : undefined
  if (source.kind !== 'node' || !behind?.shape) return
  if (source.operator === 'Identity' || source.operator === 'Cast') follow(behind, axes, found)
  if (source.operator === 'Transpose') {
    const rank = behind.shape.length
    const { perm = Array.from({ length: rank }, (_, i) => rank - 1 - i) } = source.attributes as { perm?: number[] }
    follow(
      behind,
      axes.map((axis) => perm[axis]!),
      found,
    )
  }
}
