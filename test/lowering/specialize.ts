import { evaluateDim } from '../../src/ir/dim.js'
import { input } from '../../src/ir/leaf.js'
import { topological } from '../../src/ir/topology.js'
import type { Value } from '../../src/ir/value.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import { cloneNode } from '../../src/op/inline.js'

/**
 * Specializes a graph to given lengths of symbolic dims: shapes become constants, so that neither host nor device
 * computes them.
 */
export function specialize(spec: GraphSpec, lengths: ReadonlyMap<string, number>): GraphSpec {
  const copies = new Map<Value, Value>()
  const inputs = new Map(
    [...spec.inputs].map(([name, value]) => {
      if (value.source.kind !== 'input' || !value.shape?.some((dim) => typeof dim === 'string')) return [name, value]
      const shape = value.shape.map((dim) => evaluateDim(dim, lengths) ?? dim)
      const copy = input(value.name ?? name, value.dtype, shape)
      copies.set(value, copy)
      return [name, copy]
    }),
  )
  for (const node of topological(spec.outputs.values()))
    for (const [i, copy] of cloneNode(node, copies).entries()) copies.set(node.outputs[i]!, copy)
  return {
    ...spec,
    inputs,
    outputs: new Map([...spec.outputs].map(([name, value]) => [name, copies.get(value) ?? value])),
  }
}
