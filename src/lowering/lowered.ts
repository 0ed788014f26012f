import { withBodies } from '../ir/topology.js'
import type { Value } from '../ir/value.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import { Lowerer } from './lowerer.js'
import type { Target } from './lowering.js'

/**
 * The same graph in operators that a target runs, and runs right. Its inputs and outputs have the same names, in the same
 * order; one that was int64 may be int32, which `compileGraph` hides. Integers are taken to fit into 32 bits.
 */
export function lowered(spec: GraphSpec, target: Target): GraphSpec {
  const first = rebuilt(spec, target.lowerings, target)
  return missesKernels(first.outputs.values(), target)
    ? rebuilt(spec, { ...target.lowerings, ...target.older }, target)
    : first
}

/** The graph by some lowerings: again where it turns out that int64 inputs are computed with, which then are int32. */
function rebuilt(spec: GraphSpec, lowerings: Target['lowerings'], { countedIn }: Target): GraphSpec {
  const short = new Set<Value>()
  for (;;) {
    const before = short.size
    const lowerer = new Lowerer(lowerings, countedIn, short)
    const inputs = lowerer.inputs(spec.inputs)
    const outputs = lowerer.outputs(spec.outputs)
    if (short.size === before) return { ...spec, inputs, outputs }
  }
}

/** Whether the operator set that one operator needs has no kernel for another. */
function missesKernels(outputs: Iterable<Value>, { until }: Target): boolean {
  const nodes = withBodies(outputs).filter(({ domain }) => domain === '')
  const version = nodes.reduce((most, { since }) => Math.max(most, since), 13)
  return nodes.some(({ operator }) => (until[operator] ?? version) < version)
}
