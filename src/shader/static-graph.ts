import { input } from '../ir/leaf.js'
import { axisOf } from '../ir/shape.js'
import { topological } from '../ir/topology.js'
import type { Node, Value } from '../ir/value.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import { activationExpansions } from '../op/compose/activation.js'
import { attentionExpansions } from '../op/compose/attention.js'
import type { AnyExpansion, Expansions } from '../op/compose/expansion.js'
import { normalizationExpansions } from '../op/compose/normalization.js'
import { softmaxExpansions } from '../op/compose/softmax.js'
import { cloneNode, type Substitution } from '../op/inline.js'
import { type Definitions, op } from '../op/op.js'
import { getOwn } from '../util/record.js'
import { contractions } from './contraction.js'
import { kernelOperators } from './kernels.js'
import { pointwise } from './pointwise.js'
import { dimsOf, unsupported } from './types.js'
import { views } from './views.js'

/** Operators that become others. */
const expansions = {
  ...activationExpansions,
  ...attentionExpansions,
  ...normalizationExpansions,
  ...softmaxExpansions,
  LogSoftmax: ([x], { axis }) => logSoftmax(x, axis),
  RMSNormalization: ([x, scale], { axis, epsilon }) => {
    const axes = dimsOf(x)
      .map((_, at) => at)
      .slice(axisOf(axis, dimsOf(x).length))
    const squares = op.ReduceMean(op.Mul(x, x), axes, { keepdims: 1 })
    return op.Mul(op.Div(x, op.Sqrt(op.Add(squares, epsilon))), scale)
  },
  Softmax: ([x], { axis }) => softmax(x, axis),
} satisfies Expansions<Definitions>

function softmax(x: Value, axis: number): Value {
  const powers = op.Exp(op.Sub(x, op.ReduceMax(x, [axis], { keepdims: 1 })))
  return op.Div(powers, op.ReduceSum(powers, [axis], { keepdims: 1 }))
}

function logSoftmax(x: Value, axis: number): Value {
  const below = op.Sub(x, op.ReduceMax(x, [axis], { keepdims: 1 }))
  return op.Sub(below, op.Log(op.ReduceSum(op.Exp(below), [axis], { keepdims: 1 })))
}

const isComputed = (operator: string): boolean =>
  [pointwise, views, contractions, kernelOperators].some((table) => Object.hasOwn(table, operator))

/**
 * A graph for inputs of these dims, in operators that shaders compute.
 * @throws 'unsupported-operator' if there is another operator
 */
export function staticGraph(spec: GraphSpec, dims: Readonly<Record<string, readonly number[]>>): GraphSpec {
  const copies: Substitution = new Map()
  const inputs = new Map<string, Value>()
  for (const [name, value] of spec.inputs) {
    const copy = input(name, value.dtype, getOwn(dims, name))
    copies.set(value, copy)
    inputs.set(name, copy)
  }
  rebuild(topological(spec.outputs.values()), copies)
  return {
    ...spec,
    inputs,
    outputs: new Map([...spec.outputs].map(([name, value]) => [name, copies.get(value) ?? value])),
  }
}

/** Notes the copies of nodes, in their order. */
function rebuild(nodes: readonly Node[], copies: Substitution): void {
  for (const node of nodes) for (const [i, value] of copy(node, copies).entries()) copies.set(node.outputs[i]!, value)
}

/** A node on the copies of its operands, or what it becomes. */
function copy(node: Node, copies: Substitution): readonly Value[] {
  const results = cloneNode(node, copies)
  const [{ source }] = results as [Value]
  if (source.kind !== 'node') return results
  const { operator, domain, inputs, attributes } = source
  if (domain === '' && isComputed(operator)) return results
  const expansion = domain === '' ? getOwn(expansions as unknown as Record<string, AnyExpansion>, operator) : undefined
  if (!expansion) throw unsupported(operator)
  const made = expansion(inputs, attributes)
  const becomes = Array.isArray(made) ? (made as readonly Value[]) : [made as Value]
  const given = new Set(inputs)
  const inner: Substitution = new Map()
  rebuild(
    topological(becomes, ({ outputs }) => !outputs.some((value) => given.has(value))),
    inner,
  )
  return becomes.map((value) => inner.get(value) ?? value)
}
