import { constantNumber } from '../ir/leaf.js'
import { capturesOf, topological } from '../ir/topology.js'
import { type Graph, type Node, Value } from '../ir/value.js'
import { cloneNode } from './inline.js'

/**
 * Rewrites the graph upstream of `outputs`. `replace` receives a node and its rewritten inputs and returns the values
 * that replace its outputs, or undefined to keep the node. Nodes that depend on no replaced node are shared with the
 * original graph. Nodes inside bodies are not passed to `replace`, but their captured values are replaced.
 */
export function rewriteGraph(
  outputs: readonly Value[],
  replace: (node: Node, inputs: readonly (Value | null)[]) => readonly Value[] | undefined,
): Value[] {
  const rebuilt = new Map<Value, Value>()
  const now = (value: Value): Value => rebuilt.get(value) ?? value
  for (const node of topological(outputs)) {
    const inputs = node.inputs.map((value) => value && now(value))
    const replacement = replace(node, inputs) ?? cloneIfChanged(node, inputs, rebuilt)
    if (replacement) for (const [i, value] of node.outputs.entries()) rebuilt.set(value, replacement[i] ?? value)
  }
  return outputs.map(now)
}

/** Clones a node on other inputs of the same types; undefined if no input changed. */
function cloneIfChanged(
  node: Node,
  inputs: readonly (Value | null)[],
  rebuilt: ReadonlyMap<Value, Value>,
): readonly Value[] | undefined {
  if (capturesOf(node).some((value) => rebuilt.has(value))) return cloneNode(node, new Map(rebuilt))
  return inputs.every((value, i) => value === node.inputs[i]) ? undefined : copyNode(node, inputs)
}

/** Copies a node without bodies, on other inputs of the same types. */
export function copyNode(node: Node, inputs: readonly (Value | null)[]): readonly Value[] {
  const outputs: Value[] = []
  const copy: Node = { ...node, inputs, outputs }
  for (const value of node.outputs) outputs.push(new Value(value, copy, value.index, value.name, value.contents))
  return outputs
}

/** Rewritten values under the names of the original outputs. */
export const rename = (outputs: ReadonlyMap<string, Value>, values: readonly Value[]): ReadonlyMap<string, Value> =>
  new Map([...outputs.keys()].map((name, i) => [name, values[i]!]))

/**
 * Switches Dropout nodes that a file sets to training mode to inference mode, outside of bodies: their random numbers
 * would be onnxruntime's, which no seed determines.
 */
export function disableDropout(graph: Graph): Graph {
  const { outputs } = graph
  if (!topological(outputs.values()).some(isRandom)) return graph
  const values = rewriteGraph([...outputs.values()], (node, [x, ratio]) =>
    isRandom(node) ? copyNode(node, [x!, ratio ?? null]) : undefined,
  )
  return { ...graph, outputs: rename(outputs, values) }
}

const isRandom = ({ operator, inputs: [, , training] }: Node): boolean =>
  operator === 'Dropout' && training !== null && training !== undefined && Boolean(constantNumber(training))
