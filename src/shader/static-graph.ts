import { input } from '../ir/leaf.js'
import { topological } from '../ir/topology.js'
import type { Node, Value } from '../ir/value.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import { cast } from '../op/compose/cast.js'
import { cloneNode, type Substitution } from '../op/inline.js'
import { definitionOf } from '../op/op.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'
import { contractions } from './contraction.js'
import type { Expansions } from './expansions.js'
import { kernelOperators } from './kernels.js'
import { pointwise } from './pointwise.js'
import { isSampler } from './random.js'
import { unsupported } from './types.js'
import { views } from './views.js'

const isComputed = (node: Node): boolean =>
  node.domain === '' &&
  (isSampler(node) ||
    [pointwise, views, contractions, kernelOperators].some((table) => Object.hasOwn(table, node.operator)))

/**
 * A graph for inputs of these dims, in operators that shaders compute.
 * @throws 'unsupported-operator' if there is another operator
 */
export function staticGraph(
  spec: GraphSpec,
  dims: Readonly<Record<string, readonly number[]>>,
  expansions: Expansions,
): GraphSpec {
  const copies: Substitution = new Map()
  const inputs = new Map<string, Value>()
  for (const [name, value] of spec.inputs) {
    const copy = input(name, value.dtype, getOwn(dims, name))
    copies.set(value, copy)
    inputs.set(name, copy)
  }
  rebuild(topological(spec.outputs.values()), copies, expansions)
  return {
    ...spec,
    inputs,
    outputs: new Map([...spec.outputs].map(([name, value]) => [name, copies.get(value) ?? value])),
  }
}

/** Notes the copies of nodes, in their order. */
function rebuild(nodes: readonly Node[], copies: Substitution, expansions: Expansions): void {
  for (const node of nodes)
    for (const [i, value] of copy(node, copies, expansions).entries()) copies.set(node.outputs[i]!, value)
}

/** A node on the copies of its operands, or what it becomes. */
function copy(node: Node, copies: Substitution, expansions: Expansions): readonly Value[] {
  const results = cloneNode(node, copies)
  const [{ source }] = results as [Value]
  if (source.kind !== 'node') return results
  if (isComputed(source)) return results
  const becomes = expand(source, expansions)
  const given = new Set(source.inputs)
  const inner: Substitution = new Map()
  rebuild(
    topological(becomes, ({ outputs }) => !outputs.some((value) => given.has(value))),
    inner,
    expansions,
  )
  return becomes.map((value) => inner.get(value) ?? value)
}

/** The values that replace the outputs of a node. A lowering may compute in int32 instead of int64. */
function expand({ operator, domain, inputs, attributes, outputs }: Node, expansions: Expansions): readonly Value[] {
  const expansion = domain === '' || domain === 'com.microsoft' ? getOwn(expansions, operator) : undefined
  if (!expansion) throw unsupported(operator)
  const missing = Math.max(0, definitionOf(operator).inputs.length - inputs.length)
  const context = { isUsed: () => true, outputCount: outputs.length }
  let made: ReturnType<typeof expansion>
  try {
    made = expansion([...inputs, ...Array<null>(missing).fill(null)], attributes, context)
  } catch (error) {
    if (error instanceof OnnxIreError) throw unsupported(`${operator}: ${error.message}`)
    throw error
  }
  if (!made) throw unsupported(`this ${operator}`)
  const list = Array.isArray(made) ? (made as readonly Value[]) : [made as Value]
  return outputs.map((value, i) => cast(list[i]!, value.dtype))
}
