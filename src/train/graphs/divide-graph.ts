import { input } from '../../ir/leaf.js'
import { dependenciesOf, topological } from '../../ir/topology.js'
import type { Graph, Value } from '../../ir/value.js'
import { rewriteGraph } from '../../op/rewrite.js'
import { fixedBatchSize } from '../micro-batches.js'

/** A model divided at the border between its frozen part and the layers after it. */
interface DividedGraph {
  /**
   * The layers from the first trained one on. Its inputs are features, and the inputs of the model, of which it reads
   * those that the layers need themselves.
   */
  readonly graph: Graph
  /** Values of the frozen part that the layers read, by the names of the inputs of `graph`. */
  readonly features: ReadonlyMap<string, Value>
}

/**
 * Divides a model at the last values with an axis of examples that do not depend on trained parameters. Frozen values
 * without such an axis, such as the lengths of a reshape, are computed in both parts.
 */
export function divideGraph(graph: Graph, trained: ReadonlySet<Value>): DividedGraph {
  const [fromInputs, fromTrained] = [new Set<Value>(graph.inputs.values()), new Set<Value>(trained)]
  for (const node of topological(graph.outputs.values())) {
    const dependencies = dependenciesOf(node)
    for (const set of [fromInputs, fromTrained])
      if (dependencies.some((x) => set.has(x))) for (const y of node.outputs) set.add(y)
  }
  const fixed = fixedBatchSize(graph.inputs)
  const lengths = new Set([...graph.inputs.values()].flatMap(({ shape }) => shape?.[0] ?? []))
  const hasExamples = ({ shape }: Value): boolean => {
    const length = shape?.[0]
    return typeof length === 'string' ? lengths.has(length) : length !== undefined && length === fixed
  }
  const found = new Set<Value>()
  const pending = new Set(graph.outputs.values())
  // The loop also visits values that are added during iteration.
  for (const value of pending) {
    if (value.source.kind !== 'node' || !(fromInputs.has(value) || fromTrained.has(value))) continue
    if (!fromTrained.has(value) && hasExamples(value)) found.add(value)
    else for (const x of dependenciesOf(value.source)) pending.add(x)
  }
  const features = new Map([...found].map((value, i) => [`feature/${i}${value.name ? ` ${value.name}` : ''}`, value]))
  const inputs = new Map([...features].map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]))
  const replaced = new Map([...features].map(([name, value]) => [value, inputs.get(name)!]))
  const outputs = rewriteGraph([...graph.outputs.values()], ({ outputs }) =>
    outputs.some((y) => replaced.has(y)) ? outputs.map((y) => replaced.get(y) ?? y) : undefined,
  )
  return {
    graph: {
      ...graph,
      inputs: new Map([...graph.inputs, ...inputs]),
      outputs: new Map([...graph.outputs.keys()].map((name, i) => [name, outputs[i]!])),
    },
    features,
  }
}
