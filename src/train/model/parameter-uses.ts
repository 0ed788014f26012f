import { withBodies } from '../../ir/topology.js'
import type { Graph, Node } from '../../ir/value.js'
import { definitionOf } from '../../op/op.js'
import { resolveParameters } from './trainable.js'

/** Which operators read each parameter, themselves or through views of it, and as what: "w of Conv 'conv1'". */
export function parameterUses(graph: Graph): Map<string, string[]> {
  const positions = new Map<string, string[]>()
  const add = (name: string, position: string) => positions.set(name, [...(positions.get(name) ?? []), position])
  for (const node of withBodies(graph.outputs.values())) {
    const slots = definitionOf(node.operator).inputs
    for (const [index, value] of node.inputs.entries()) {
      const slot = (slots[index] ?? slots.at(-1) ?? '').replace(/^\.\.\.|\?$/g, '')
      for (const { name } of resolveParameters(value)) if (name !== undefined) add(name, `${slot} of ${labelled(node)}`)
    }
  }
  return positions
}

function labelled({ operator, name, outputs }: Node): string {
  const label = name ?? outputs[0]?.name
  return label === undefined ? operator : `${operator} '${label}'`
}
