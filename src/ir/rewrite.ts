import { OnnxIreError } from '../errors.js'
import { capturesOf, topological } from './topology.js'
import { type Node, Value } from './value.js'

/**
 * Rebuilds what `outputs` depend on with some nodes replaced: `replace` is given a node and its (already rebuilt) inputs
 * and returns the values to stand for its outputs, or undefined to keep the node. What depends on no replaced node is shared
 * with the original graph. Bodies of control flow stay as they are: `unsupported-operator` when one uses a replaced value.
 */
export function rewriteGraph(
  outputs: readonly Value[],
  replace: (node: Node, inputs: readonly (Value | null)[]) => readonly Value[] | undefined,
): Value[] {
  const rebuilt = new Map<Value, Value>()
  const now = (value: Value): Value => rebuilt.get(value) ?? value
  for (const node of topological(outputs)) {
    const inputs = node.inputs.map((value) => value && now(value))
    if (capturesOf(node).some((value) => rebuilt.has(value)))
      throw new OnnxIreError(
        'unsupported-operator',
        `${node.operator} '${node.name ?? node.outputs[0]?.name ?? '?'}' uses, inside its body, a tensor that would have to be computed differently; bodies cannot be rebuilt`,
      )
    const replacement =
      replace(node, inputs) ?? (inputs.some((value, i) => value !== node.inputs[i]) ? copyOf(node, inputs) : undefined)
    if (replacement) for (const [i, value] of node.outputs.entries()) rebuilt.set(value, replacement[i] ?? value)
  }
  return outputs.map(now)
}

/** The same node over other inputs of the same types. */
function copyOf(node: Node, inputs: readonly (Value | null)[]): readonly Value[] {
  const outputs: Value[] = []
  const copy: Node = { ...node, inputs, outputs }
  for (const value of node.outputs) outputs.push(new Value(value, copy, value.index, value.name, value.contents))
  return outputs
}
