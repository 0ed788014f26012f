import { capturesOf, topological } from '../ir/topology.js'
import type { Graph, Node } from '../ir/value.js'
import { definitions } from '../op/index.js'
import { parameterBehind } from './weights.js'

/** Which operators read each parameter, themselves or through views of it, and as what: "w of Conv 'conv1'". */
export function positionsOf(graph: Graph): Map<string, string[]> {
  const positions = new Map<string, string[]>()
  const add = (name: string, position: string) => positions.set(name, [...(positions.get(name) ?? []), position])
  for (const node of topological(graph.outputs.values())) {
    const slots: readonly string[] = definitions[node.operator as keyof typeof definitions].inputs
    for (const [index, value] of node.inputs.entries()) {
      const name = parameterBehind(value)?.name
      if (name === undefined) continue
      const slot = (slots[index] ?? slots.at(-1) ?? '').replace(/^\.\.\.|\?$/g, '')
      add(name, `${slot} of ${labelled(node)}`)
    }
    for (const { source, name } of capturesOf(node)) {
      if (source.kind === 'parameter' && name !== undefined) add(name, `inside ${labelled(node)}`)
    }
  }
  return positions
}

function labelled({ operator, name, outputs }: Node): string {
  const label = name ?? outputs[0]?.name
  return label === undefined ? operator : `${operator} '${label}'`
}
