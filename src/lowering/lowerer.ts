import { body, currentScope } from '../ir/body.js'
import { dtypes } from '../ir/dtype.js'
import { constant, constantTensor, input } from '../ir/leaf.js'
import { bodiesOf, dependenciesOf, topological } from '../ir/topology.js'
import { type Attribute, type Body, type Node, refineShape, type Scope, type Value } from '../ir/value.js'
import { apply } from '../op/apply.js'
import { smallSize } from '../op/contents.js'
import { moreKnown } from '../op/inline.js'
import { definitionOf, op } from '../op/op.js'
import { narrowConstant } from './convert.js'
import type { AnyLowering, Target } from './lowering.js'
import { mayBeNarrow, onHost } from './slots.js'

/** Shapes are known to the host, and so is what follows from them. */
const shapes: ReadonlySet<string> = new Set(['Shape', 'Size'])

/**
 * Rebuilds a graph in the operators of a target. A value has up to two forms. What follows from shapes alone has a host
 * form, made of the nodes it had: the host computes it without waiting for the device, and it is what shapes and axes are
 * read from. Everything has a device form, in lowered operators; where int64 is to be avoided, that of an int64 tensor is int32.
 *
 * Bodies are rebuilt in the same way, but what is int64 there stays so: the host goes through their rounds, and has their states
 * and numbers. Only what a lowered operator gives as int32 is passed on as such.
 */
export class Lowerer {
  private readonly lowerings: Readonly<Record<string, AnyLowering | undefined>>
  private readonly countedIn: Target['countedIn']
  private readonly device = new Map<Value, Value>()
  private readonly host = new Map<Value, Value>()
  /** Nodes that are part of the result, or have become something else. */
  private readonly settled = new Set<Node>()
  private readonly read = new Set<Value>()
  private readonly converted = new Map<Value, Value>()
  private readonly short: Set<Value>
  /** The body whose nodes are rebuilt, undefined for the main graph. */
  private scope: Scope | undefined
  /** Whether anything is not what it was. */
  private changed = false

  /** @param short int64 inputs to take as int32; those that turn out to be computed with are added, for another try */
  constructor(lowerings: Target['lowerings'], countedIn: Target['countedIn'], short: Set<Value>) {
    this.lowerings = lowerings
    this.countedIn = countedIn
    this.short = short
  }

  /** What stands for graph inputs. */
  inputs(inputs: ReadonlyMap<string, Value>): ReadonlyMap<string, Value> {
    return new Map(
      [...inputs].map(([name, value]) => {
        if (!this.short.has(value)) return [name, value]
        const narrowed = input(value.name ?? name, 'int32', value.shape)
        this.device.set(value, narrowed)
        return [name, narrowed]
      }),
    )
  }

  /** What stands for graph outputs. */
  outputs(outputs: ReadonlyMap<string, Value>): ReadonlyMap<string, Value> {
    this.walk([...outputs.values()])
    const form = (value: Value) => (value.dtype === 'int64' && this.host.get(value)) || this.onDevice(value)
    return new Map([...outputs].map(([name, value]) => [name, form(value)]))
  }

  private walk(ends: readonly Value[]): void {
    const own: readonly (Scope | undefined)[] = [this.scope, currentScope()]
    const order = topological(ends, (node) => own.includes(node.scope) && !this.settled.has(node))
    for (const value of ends) this.read.add(value)
    for (const node of order) for (const value of dependenciesOf(node)) this.read.add(value)
    for (const node of order) {
      this.settled.add(node)
      if (this.followsFromShapes(node)) this.keepOnHost(node)
      else this.rebuild(node)
    }
  }

  private followsFromShapes(node: Node): boolean {
    if (shapes.has(node.operator)) return true
    if (bodiesOf(node).length > 0) return false
    const known = (value: Value | null) => value === null || this.host.has(value) || isConstant(value)
    return (
      node.inputs.some((value) => value && this.host.has(value)) &&
      node.inputs.every(known) &&
      node.outputs.every((value) => isSmall(value, node))
    )
  }

  private keepOnHost(node: Node): void {
    const inputs = node.inputs.map((value) => value && (this.host.get(value) ?? this.onDevice(value)))
    for (const [i, value] of this.remade(node, inputs).entries()) {
      this.host.set(node.outputs[i]!, value)
      this.host.set(value, this.final(value))
    }
  }

  /** The device form of a value that has been walked. */
  private onDevice(value: Value): Value {
    const known = this.device.get(value)
    if (known) return known
    // Only what the host computes has none yet.
    if (value.source.kind === 'node' && this.host.has(value)) this.rebuild(value.source)
    else return value
    return this.device.get(value)!
  }

  private rebuild(node: Node): void {
    const results = this.lowered(node) ?? this.kept(node)
    for (const [i, value] of node.outputs.entries()) if (results[i]) this.device.set(value, results[i])
  }

  private lowered(node: Node): readonly Value[] | undefined {
    const lowering = node.domain === '' ? this.lowerings[node.operator] : undefined
    if (!lowering) return undefined
    const inputs = node.inputs.map((value, slot) => value && this.operand(node, slot, value))
    const padding = definitionOf(node.operator).inputs.length - inputs.length
    const results = lowering([...inputs, ...Array<null>(Math.max(0, padding)).fill(null)], node.attributes, {
      wants: (output) => node.outputs[output] !== undefined && this.read.has(node.outputs[output]),
      outputs: node.outputs.length,
    })
    if (results === null) return undefined
    this.changed = true
    const list = Array.isArray(results) ? (results as readonly Value[]) : [results as Value]
    const wanted = list.filter((_, i) => node.outputs[i] && this.read.has(node.outputs[i]))
    this.walk(wanted)
    return list.map((value) => (wanted.includes(value) ? this.onDevice(value) : value))
  }

  private kept(node: Node): readonly Value[] {
    const results = bodiesOf(node).length > 0 ? this.withBodies(node) : this.remade(node, this.operands(node))
    for (const value of results) this.device.set(value, this.final(value))
    return results
  }

  private operands(node: Node): readonly (Value | null)[] {
    return node.inputs.map((value, slot) => value && this.operand(node, slot, value))
  }

  /** Inputs and outputs of bodies, and what they capture, have the types they had. */
  private withBodies(node: Node): readonly Value[] {
    const forms = new Map(dependenciesOf(node).map((value) => [value, this.wide(value)]))
    let same = [...forms].every(([value, form]) => value === form)
    const rebuilt = (of: Body): Body => {
      const inner = new Lowerer(this.lowerings, this.countedIn, this.short)
      const result = inner.body(of, forms, (value) => this.host.get(value))
      same &&= !inner.changed
      return result
    }
    const mapped = (attribute: Attribute | undefined): Attribute | undefined => {
      if (typeof attribute !== 'object') return attribute
      if (Array.isArray(attribute)) return attribute.map((item) => mapped(item as Attribute)) as readonly Body[]
      return 'kind' in attribute ? rebuilt(attribute) : attribute
    }
    const attributes = Object.fromEntries(Object.entries(node.attributes).map(([key, value]) => [key, mapped(value)]))
    if (same && node.scope === currentScope()) return node.outputs
    this.changed ||= !same
    return this.made(
      { ...node, attributes: same ? node.attributes : attributes },
      node.inputs.map((value) => value && forms.get(value)!),
    )
  }

  private body(of: Body, captured: ReadonlyMap<Value, Value>, onHost: (value: Value) => Value | undefined): Body {
    this.scope = of.scope
    for (const [value, form] of captured) {
      this.device.set(value, form)
      const host = onHost(value)
      if (host) this.host.set(value, host)
    }
    const inputs = of.inputs.map((value) => input(value.name ?? 'x', value.dtype, value.shape))
    return body(inputs, () => {
      for (const [i, value] of of.inputs.entries()) this.device.set(value, inputs[i]!)
      this.walk(of.outputs)
      return of.outputs.map((value) => this.wide(value))
    })
  }

  /** The form of a value that has the type it had. */
  private wide(value: Value): Value {
    const form = this.host.get(value) ?? this.onDevice(value)
    return value.dtype === 'int64' ? this.widened(form) : form
  }

  private operand(node: Node, slot: number, value: Value): Value {
    if (onHost(node.operator, slot)) return this.wide(value)
    const form = this.onDevice(value)
    if (value.dtype !== 'int64' || !this.countedIn) return form
    return mayBeNarrow(node.operator, slot) && this.narrows(node) ? this.narrowed(form) : this.widened(form)
  }

  /** Whether a node computes in int32: in bodies only where nothing has to be made int32 for it. */
  private narrows({ operator, inputs }: Node): boolean {
    if (!this.scope) return true
    const forms = inputs.flatMap((value, slot) =>
      value?.dtype === 'int64' && mayBeNarrow(operator, slot) ? [this.onDevice(value)] : [],
    )
    return (
      forms.some(({ dtype }) => dtype === 'int32') && forms.every((form) => form.dtype === 'int32' || isConstant(form))
    )
  }

  private narrowed(value: Value): Value {
    if (value.dtype !== 'int64') return value
    return this.remembered(value, () => {
      const tensor = constantTensor(value)
      if (value.source.kind === 'input') this.short.add(value)
      if (!tensor) return this.final(this.lookedUp(value) ?? op.Cast(value, { to: dtypes.int32.onnx }))
      return constant(narrowConstant(tensor, value.name))
    })
  }

  private widened(value: Value): Value {
    if (value.dtype !== 'int32') return value
    return this.remembered(value, () => {
      const result = this.final(op.Cast(value, { to: dtypes.int64.onnx }))
      this.converted.set(result, value)
      return result
    })
  }

  /** A place along an axis, by the number that is there. */
  private lookedUp(index: Value): Value | null {
    const numbers = this.countedIn!(index)
    if (!numbers) return null
    this.walk([numbers])
    return op.Gather(this.onDevice(numbers), index)
  }

  private final(value: Value): Value {
    if (value.source.kind === 'node') this.settled.add(value.source)
    return value
  }

  private remembered(value: Value, convert: () => Value): Value {
    let result = this.converted.get(value)
    if (!result) {
      result = convert()
      this.converted.set(value, result)
    }
    return result
  }

  /** The node over other inputs, whose types may have changed. */
  private remade(node: Node, inputs: readonly (Value | null)[]): readonly Value[] {
    const same = inputs.every((value, i) => value === node.inputs[i])
    return same && node.scope === currentScope() ? node.outputs : this.made(node, inputs)
  }

  private made(node: Node, inputs: readonly (Value | null)[]): readonly Value[] {
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
      if (value.source.kind === 'node') refineShape(value, moreKnown(value.shape, outputs[i]?.shape))
    return results
  }
}

const isConstant = ({ source }: Value): boolean => source.kind === 'constant'

/** Operators whose result may be longer than what they are given. */
const spreading: ReadonlySet<string> = new Set([
  'ConstantOfShape',
  'Expand',
  'EyeLike',
  'OneHot',
  'Pad',
  'Range',
  'Tile',
])

/** Shapes and what is computed from them: few elements, as far as is known. */
function isSmall({ shape }: Value, { operator }: Node): boolean {
  const size = smallSize(shape)
  return size !== undefined || (shape?.length === 1 && typeof shape[0] === 'string' && !spreading.has(operator))
}
