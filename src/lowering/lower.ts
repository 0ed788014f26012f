import { body, currentScope } from '../ir/body.js'
import { dtypes } from '../ir/dtype.js'
import { constant, constantTensor, input } from '../ir/leaf.js'
import { sameShape } from '../ir/shape.js'
import { bodiesOf, dependenciesOf, topological, withBodies } from '../ir/topology.js'
import { type Attribute, type Body, type Node, refineShape, type Scope, Value } from '../ir/value.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import { apply } from '../op/apply.js'
import { smallSize } from '../op/contents.js'
import { isInput } from '../op/facts.js'
import { refineFrom } from '../op/inline.js'
import { definitionOf, op } from '../op/op.js'
import { getOwn } from '../util/record.js'
import { narrowConstant } from './convert.js'
import type { AnyLowering, Target } from './lowering.js'

/**
 * Rewrites a graph in operators that a target's provider runs correctly. Inputs and outputs keep their names and order.
 * An int64 input or output may become int32, which `compileGraph` hides. Integers are assumed to fit into 32 bits.
 */
export function lower(spec: GraphSpec, target: Target): GraphSpec {
  const first = rebuild(spec, target.lowerings, target)
  return missesKernels(first.outputs.values(), target)
    ? rebuild(spec, { ...target.lowerings, ...target.downlevel }, target)
    : first
}

/** Rewrites a graph with some lowerings, and again if int64 inputs turn out to be computed with: they become int32. */
function rebuild(spec: GraphSpec, lowerings: Target['lowerings'], { indexRange }: Target): GraphSpec {
  const narrowInputs = new Set<Value>()
  for (;;) {
    const before = narrowInputs.size
    const lowerer = new Lowerer(lowerings, indexRange, narrowInputs)
    const inputs = lowerer.inputs(spec.inputs)
    const outputs = lowerer.outputs(spec.outputs)
    if (narrowInputs.size === before) return { ...spec, inputs, outputs }
  }
}

/** Whether an operator needs an operator set in which the provider has no kernel for another operator of the graph. */
function missesKernels(outputs: Iterable<Value>, { provider }: Target): boolean {
  const nodes = withBodies(outputs).filter(({ domain }) => domain === '')
  const version = nodes.reduce((most, { since }) => Math.max(most, since), 13)
  return nodes.some(({ operator }) => (definitionOf(operator).maxOpset[provider] ?? version) < version)
}

/**
 * Rewrites the nodes of a graph for a target. A value has up to two forms:
 * - the host form, of values that follow from shapes alone, in the original operators. The host computes it without
 * waiting for the device, and `hostInputs` of operators (shapes, axes) read it;
 * - the device form, of every value, in lowered operators. If the target avoids int64, the device form of an int64
 * tensor is int32.
 *
 * Bodies are rewritten in the same way, but int64 remains int64 there, because the host runs the iterations and holds
 * their states and counters. Only int32 results of lowered operators are passed on as int32.
 */
class Lowerer {
  readonly #lowerings: Readonly<Record<string, AnyLowering | undefined>>
  readonly #indexRange: Target['indexRange']
  readonly #device = new Map<Value, Value>()
  readonly #host = new Map<Value, Value>()
  /** Nodes that are part of the result, or have been replaced. */
  readonly #done = new Set<Node>()
  readonly #read = new Set<Value>()
  readonly #converted = new Map<Value, Value>()
  readonly #narrowInputs: Set<Value>
  /** The body whose nodes are rewritten, undefined for the main graph. */
  #scope: Scope | undefined
  /** Whether any node has been replaced. */
  #changed = false

  /**
   * @param narrowInputs int64 inputs to treat as int32; inputs that turn out to be computed with are added, for another
   * pass
   */
  constructor(lowerings: Target['lowerings'], indexRange: Target['indexRange'], narrowInputs: Set<Value>) {
    this.#lowerings = lowerings
    this.#indexRange = indexRange
    this.#narrowInputs = narrowInputs
  }

  /** Replaces the graph inputs in `narrowInputs` by int32 ones. */
  inputs(inputs: ReadonlyMap<string, Value>): ReadonlyMap<string, Value> {
    return new Map(
      [...inputs].map(([name, value]) => {
        if (!this.#narrowInputs.has(value)) return [name, value]
        const narrowed = input(value.name ?? name, 'int32', value.shape)
        this.#device.set(value, narrowed)
        return [name, narrowed]
      }),
    )
  }

  /** Rewrites the graph upstream of its outputs; returns the outputs of the result. */
  outputs(outputs: ReadonlyMap<string, Value>): ReadonlyMap<string, Value> {
    this.#rewrite([...outputs.values()])
    const form = (value: Value) => (value.dtype === 'int64' && this.#host.get(value)) || this.#onDevice(value)
    return new Map([...outputs].map(([name, value]) => [name, form(value)]))
  }

  #rewrite(ends: readonly Value[]): void {
    const own: readonly (Scope | undefined)[] = [this.#scope, currentScope()]
    const order = topological(ends, (node) => own.includes(node.scope) && !this.#done.has(node))
    for (const value of ends) this.#read.add(value)
    for (const node of order) for (const value of dependenciesOf(node)) this.#read.add(value)
    for (const node of order) {
      this.#done.add(node)
      if (this.#followsFromShapes(node)) this.#keepOnHost(node)
      else this.#toDevice(node)
    }
  }

  #followsFromShapes(node: Node): boolean {
    if (definitionOf(node.operator).shapeOnly) return true
    if (bodiesOf(node).length > 0) return false
    const known = (value: Value | null) => value === null || this.#host.has(value) || isConstant(value)
    return (
      node.inputs.some((value) => value && this.#host.has(value)) &&
      node.inputs.every(known) &&
      node.outputs.every((value) => isSmall(value, node))
    )
  }

  #keepOnHost(node: Node): void {
    const inputs = node.inputs.map((value) => value && (this.#host.get(value) ?? this.#onDevice(value)))
    for (const [i, value] of this.#rebuildIfChanged(node, inputs).entries()) {
      this.#host.set(node.outputs[i]!, value)
      this.#host.set(value, this.#markDone(value))
    }
  }

  /** The device form of a value that has been rewritten. */
  #onDevice(value: Value): Value {
    const known = this.#device.get(value)
    if (known) return known
    // Only values that the host computes have none yet.
    if (value.source.kind === 'node' && this.#host.has(value)) this.#toDevice(value.source)
    else return value
    return this.#device.get(value)!
  }

  #toDevice(node: Node): void {
    const results = this.#applyLowering(node) ?? this.#copy(node)
    for (const [i, value] of node.outputs.entries()) if (results[i]) this.#device.set(value, results[i])
  }

  #applyLowering(node: Node): readonly Value[] | undefined {
    // Operators in blocked layout have the names of those that were lowered to them.
    const lowering = node.domain === 'com.microsoft.nchwc' ? undefined : getOwn(this.#lowerings, node.operator)
    if (!lowering) return undefined
    const inputs = node.inputs.map((value, slot) => value && this.#operand(node, slot, value))
    const padding = definitionOf(node.operator).inputs.length - inputs.length
    const results = lowering([...inputs, ...Array<null>(Math.max(0, padding)).fill(null)], node.attributes, {
      isUsed: (output) => node.outputs[output] !== undefined && this.#read.has(node.outputs[output]),
      outputCount: node.outputs.length,
    })
    if (results === null) return undefined
    this.#changed = true
    const list = Array.isArray(results) ? (results as readonly Value[]) : [results as Value]
    const used = list.filter((_, i) => node.outputs[i] && this.#read.has(node.outputs[i]))
    this.#rewrite(used)
    return list.map((value) => (used.includes(value) ? this.#onDevice(value) : value))
  }

  #copy(node: Node): readonly Value[] {
    const results =
      bodiesOf(node).length > 0 ? this.#copyWithBodies(node) : this.#rebuildIfChanged(node, this.#operands(node))
    for (const value of results) this.#device.set(value, this.#markDone(value))
    return results
  }

  #operands(node: Node): readonly (Value | null)[] {
    return node.inputs.map((value, slot) => value && this.#operand(node, slot, value))
  }

  /** Copies a node with rewritten bodies. Inputs, outputs and captured values of bodies keep their types. */
  #copyWithBodies(node: Node): readonly Value[] {
    const forms = new Map(dependenciesOf(node).map((value) => [value, this.#originalForm(value)]))
    let same = [...forms].every(([value, form]) => value === form)
    const rewriteBody = (of: Body): Body => {
      const inner = new Lowerer(this.#lowerings, this.#indexRange, this.#narrowInputs)
      const result = inner.#rewriteBody(of, forms, (value) => this.#host.get(value))
      same &&= !inner.#changed
      return result
    }
    const rewriteAttribute = (attribute: Attribute | undefined): Attribute | undefined => {
      if (typeof attribute !== 'object') return attribute
      if (Array.isArray(attribute))
        return attribute.map((item) => rewriteAttribute(item as Attribute)) as readonly Body[]
      return 'kind' in attribute ? rewriteBody(attribute) : attribute
    }
    const attributes = Object.fromEntries(
      Object.entries(node.attributes).map(([key, value]) => [key, rewriteAttribute(value)]),
    )
    if (same && node.scope === currentScope()) return node.outputs
    this.#changed ||= !same
    return this.#rebuild(
      { ...node, attributes: same ? node.attributes : attributes },
      node.inputs.map((value) => value && forms.get(value)!),
    )
  }

  #rewriteBody(of: Body, captured: ReadonlyMap<Value, Value>, hostForm: (value: Value) => Value | undefined): Body {
    this.#scope = of.scope
    for (const [value, form] of captured) {
      this.#device.set(value, form)
      const host = hostForm(value)
      if (host) this.#host.set(value, host)
    }
    const inputs = of.inputs.map((value) => input(value.name ?? 'x', value.dtype, value.shape))
    return body(inputs, () => {
      for (const [i, value] of of.inputs.entries()) this.#device.set(value, inputs[i]!)
      this.#rewrite(of.outputs)
      return of.outputs.map((value) => this.#originalForm(value))
    })
  }

  /** The form of a value that has the original type. */
  #originalForm(value: Value): Value {
    const form = this.#host.get(value) ?? this.#onDevice(value)
    return value.dtype === 'int64' ? this.#toInt64(form) : form
  }

  #operand(node: Node, slot: number, value: Value): Value {
    if (isInput(definitionOf(node.operator), 'hostInputs', slot)) return this.#originalForm(value)
    const form = this.#onDevice(value)
    if (value.dtype !== 'int64' || !this.#indexRange) return form
    return acceptsInt32(node.operator, slot) && this.#computesInInt32(node) ? this.#toInt32(form) : this.#toInt64(form)
  }

  /** Whether a node computes in int32: in bodies only if no operand has to be cast to int32 for it. */
  #computesInInt32({ operator, inputs }: Node): boolean {
    if (!this.#scope) return true
    const forms = inputs.flatMap((value, slot) =>
      value?.dtype === 'int64' && acceptsInt32(operator, slot) ? [this.#onDevice(value)] : [],
    )
    return (
      forms.some(({ dtype }) => dtype === 'int32') && forms.every((form) => form.dtype === 'int32' || isConstant(form))
    )
  }

  #toInt32(value: Value): Value {
    if (value.dtype !== 'int64') return value
    return this.#memoize(value, () => {
      const tensor = constantTensor(value)
      if (value.source.kind === 'input') this.#narrowInputs.add(value)
      if (!tensor) return this.#markDone(this.#gatherIndex(value) ?? op.Cast(value, { to: dtypes.int32.onnx }))
      return constant(narrowConstant(tensor, value.name))
    })
  }

  #toInt64(value: Value): Value {
    if (value.dtype !== 'int32') return value
    return this.#memoize(value, () => {
      const result = this.#markDone(op.Cast(value, { to: dtypes.int64.onnx }))
      this.#converted.set(result, value)
      return result
    })
  }

  /** An index along an axis as int32: the element at that index of 0, 1, 2 ... (WebGPU has no cast from int64). */
  #gatherIndex(index: Value): Value | null {
    const range = this.#indexRange!(index)
    if (!range) return null
    this.#rewrite([range])
    return op.Gather(this.#onDevice(range), index)
  }

  #markDone(value: Value): Value {
    if (value.source.kind === 'node') this.#done.add(value.source)
    return value
  }

  #memoize(value: Value, convert: () => Value): Value {
    let result = this.#converted.get(value)
    if (!result) {
      result = convert()
      this.#converted.set(value, result)
    }
    return result
  }

  /** The node's outputs for other inputs. */
  #rebuildIfChanged(node: Node, inputs: readonly (Value | null)[]): readonly Value[] {
    const same = inputs.every((value, i) => value === node.inputs[i])
    return same && node.scope === currentScope() ? node.outputs : this.#rebuild(node, inputs)
  }

  /** The outputs of a copy of a node. Their types are inferred only if the types of its inputs have changed. */
  #rebuild(node: Node, inputs: readonly (Value | null)[]): readonly Value[] {
    if (inputs.every((value, i) => hasSameType(value, node.inputs[i]!))) return copyNode(node, inputs)
    const { operator, attributes, name, outputs } = node
    const results = apply({
      operator,
      definition: definitionOf(operator),
      inputs,
      attributes,
      name,
      outputCount: outputs.length,
    })
    for (const [i, value] of results.entries())
      if (value.source.kind === 'node') refineShape(value, refineFrom(value.shape, outputs[i]?.shape))
    return results
  }
}

const hasSameType = (a: Value | null, b: Value | null): boolean =>
  a === b ||
  (a !== null &&
    b !== null &&
    a.dtype === b.dtype &&
    a.contents === b.contents &&
    (a.shape === b.shape || sameShape(a.shape, b.shape)))

/** The outputs of a copy of a node in the current scope, with other inputs of the same types. */
function copyNode(node: Node, inputs: readonly (Value | null)[]): readonly Value[] {
  const outputs: Value[] = []
  const copy: Node = { ...node, inputs, outputs, scope: currentScope() }
  for (const value of node.outputs) outputs.push(new Value(value, copy, value.index, undefined, value.contents))
  return outputs
}

const isConstant = ({ source }: Value): boolean => source.kind === 'constant'

/** Whether an int64 input of an operator may be int32 instead. */
function acceptsInt32(operator: string, slot: number): boolean {
  const definition = definitionOf(operator)
  return (
    definition.acceptsInt32 && !isInput(definition, 'hostInputs', slot) && !isInput(definition, 'int64Inputs', slot)
  )
}

/** Whether a value computed from shapes has few elements, as far as is known. */
function isSmall({ shape }: Value, { operator }: Node): boolean {
  const size = smallSize(shape)
  return size !== undefined || (shape?.length === 1 && typeof shape[0] === 'string' && !definitionOf(operator).enlarges)
}
