import { dependenciesOf, topological } from '../ir/topology.js'
import type { Node, Value } from '../ir/value.js'
import { cloneNode, type Substitution } from '../op/inline.js'

/** Values that a gradient computes again, equal to the outputs of a node. */
const repeated = new WeakMap<Node, readonly Value[]>()

/** Records that a gradient computes the outputs of a node again. */
export const addRepeated = (node: Node, values: readonly Value[]): void => {
  repeated.set(node, values)
}

/** Whether a gradient computes the outputs of a node again. */
export const isRepeated = (node: Node): boolean => repeated.has(node)

/**
 * Replaces nodes whose outputs a gradient computes again by these results: a recurrent layer runs once for its outputs
 * and for what its gradient stores, instead of twice.
 * @param outputs outputs of a graph with gradients
 */
export function shareRepeated(outputs: ReadonlyMap<string, Value>): ReadonlyMap<string, Value> {
  if (!topological(outputs.values()).some(isRepeated)) return outputs
  const copies: Substitution = new Map()
  const visited = new Set<Node>()
  const now = (value: Value) => copies.get(value) ?? value
  const visit = (ends: Iterable<Value>) => {
    for (const node of topological(ends, (each) => !visited.has(each))) {
      if (visited.has(node)) continue
      visited.add(node)
      const again = repeated.get(node)
      if (again) visit(again)
      const results =
        again?.map(now) ?? (dependenciesOf(node).some((value) => copies.has(value)) ? cloneNode(node, copies) : [])
      for (const [i, value] of results.entries()) if (node.outputs[i]) copies.set(node.outputs[i], value)
    }
  }
  visit(outputs.values())
  return new Map([...outputs].map(([name, value]) => [name, now(value)]))
}
