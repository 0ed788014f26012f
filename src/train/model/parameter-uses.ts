import { withBodies } from '../../ir/topology.js'
import type { Graph, Node } from '../../ir/value.js'
import { definitionOf } from '../../op/op.js'
import { resolveParameters } from './trainable.js'

/** Lists the operator inputs that read each parameter, directly or through views: "w of Conv 'conv1'". */
export function parameterUses(graph: Graph): Map<string, string[]> {
  const uses = new Map<string, string[]>()
  for (const node of withBodies(graph.outputs.values())) {
    const names = definitionOf(node.operator).inputs
    for (const [index, value] of node.inputs.entries()) {
      const input = (names[index] ?? names.at(-1) ?? '').replace(/^\.\.\.|\?$/g, '')
      for (const { name } of resolveParameters(value))
        if (name !== undefined) uses.set(name, [...(uses.get(name) ?? []), `${input} of ${describeNode(node)}`])
    }
  }
  return uses
}

function describeNode({ operator, name, outputs }: Node): string {
  const label = name ?? outputs[0]?.name
  return label === undefined ? operator : `${operator} '${label}'`
}
