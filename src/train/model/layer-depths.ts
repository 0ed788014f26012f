import { dependenciesOf, topological } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { definitionOf } from '../../op/op.js'
import { resolveParameters } from './trainable.js'

/**
 * Counts the layers downstream of each parameter on the longest path to an output: 0 for parameters of the last layer.
 * A layer is a convolution, a matrix product, an embedding or a recurrent operator that reads a parameter.
 */
export function layerDepths(graph: Graph): Map<string, number> {
  const onPath = new Set<Value>(graph.inputs.values())
  const depths = new Map<Value, number>()
  const found = new Map<Value, number>()
  for (const node of topological(graph.outputs.values())) {
    const dependencies = dependenciesOf(node)
    // A value computed from parameters alone (a transposed weight) belongs to the layer that reads it.
    if (!dependencies.some((x) => onPath.has(x))) continue
    const parameters = dependencies.filter((x) => !onPath.has(x)).flatMap(resolveParameters)
    const before = Math.max(0, ...dependencies.map((x) => depths.get(x) ?? 0))
    const depth = before + (isLayer(node, parameters) ? 1 : 0)
    for (const y of node.outputs) {
      onPath.add(y)
      depths.set(y, depth)
    }
    for (const parameter of parameters) if (!found.has(parameter)) found.set(parameter, depth)
  }
  const deepest = Math.max(0, ...found.values())
  return new Map(
    [...graph.parameters].flatMap(([name, value]) => {
      const depth = found.get(value)
      return depth === undefined ? [] : [[name, deepest - depth]]
    }),
  )
}

const isLayer = ({ operator }: Node, parameters: readonly Value[]): boolean =>
  parameters.length > 0 && definitionOf(operator).layer === 'own'
