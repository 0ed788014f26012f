import { input } from '../ir/leaf.js'
import { sameShape } from '../ir/shape.js'
import type { Tensor } from '../ir/tensor.js'
import { topological } from '../ir/topology.js'
import type { Node, Value } from '../ir/value.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import { getOwn } from '../util/record.js'
import { type Division, gpuDivision } from './division.js'
import type { Expansions } from './expansions.js'
import { elementKernels, kernelOperators } from './kernels.js'
import { isPointwise, operandsOf, pointwise } from './pointwise.js'
import { isSampler, samplingCost } from './random.js'
import { staticGraph } from './static-graph.js'
import { elementsOf, elementType, findLargeInteger, unsupported } from './types.js'
import { keepsOrder, readOperands } from './views.js'
import { literalOf, type ShaderKernel, type Slot } from './writer.js'

/** A graph as compute shaders, to run in order. */
export interface ShaderProgram {
  readonly kernels: readonly ShaderKernel[]
  /** The arrays of inputs that kernels read, by name. */
  readonly inputs: ReadonlyMap<string, Slot>
  /** The arrays of constants and of parameters that are no inputs. */
  readonly constants: ReadonlyMap<Slot, Tensor>
  /** The array of two numbers that random numbers depend on; see `Sampling`. Undefined if nothing is sampled. */
  readonly state: Slot | undefined
  /** Outputs by name, each with its array: of an input or a constant if it is one. */
  readonly outputs: ReadonlyMap<string, { readonly value: Value; readonly slot: Slot }>
}

/** Facts about a value that is not in memory: it is computed where it is read. */
interface Inline {
  /** The node whose kernel computes it, if it needs a kernel. */
  readonly anchor: Node | null
  /** The values in memory that it reads. */
  readonly reads: ReadonlySet<Value>
  /** About the number of operations per element. */
  readonly cost: number
}

/** Arrays that a kernel may read: WebGPU binds at least 8, one of which it writes. */
const maxReads = 7

/** The largest cost of a value that is computed again at each of its uses. */
const maxInlineCost = 1

/**
 * Converts a graph to shaders, for inputs of these dims.
 * @param expansions replacements of operators without a shader
 * @throws 'unsupported-operator'
 */
export function shaderProgram(
  spec: GraphSpec,
  dims: Readonly<Record<string, readonly number[]>>,
  expansions: Expansions,
  division: Division = gpuDivision,
): ShaderProgram {
  return new Scheduler(staticGraph(spec, dims, expansions), division).schedule()
}

class Scheduler {
  readonly #graph: GraphSpec
  readonly #slots = new Map<Value, Slot>()
  readonly #state = input('state', 'int32', [2])
  readonly #samplers = new Map<Node, number>()
  readonly #inline = new Map<Value, Inline>()
  readonly #uses = new Map<Value, number>()
  readonly #kernels: ShaderKernel[] = []
  readonly #constants = new Map<Slot, Tensor>()
  readonly #outputs: ReadonlySet<Value>
  readonly #division: Division

  constructor(graph: GraphSpec, division: Division) {
    this.#graph = graph
    this.#division = division
    this.#outputs = new Set(graph.outputs.values())
  }

  schedule(): ShaderProgram {
    const { inputs, outputs } = this.#graph
    const order = topological(outputs.values())
    for (const node of order) {
      if (isSampler(node)) this.#samplers.set(node, this.#samplers.size)
      for (const value of this.#operands(node)) this.#uses.set(value, (this.#uses.get(value) ?? 0) + 1)
    }
    for (const node of order) this.#visit(node)
    const stored = [...outputs].map(([name, value]) => [name, { value, slot: this.#slotOf(value) }] as const)
    return {
      kernels: this.#kernels,
      inputs: new Map(
        [...inputs].flatMap(([name, value]) => (this.#slots.has(value) ? [[name, this.#slots.get(value)!]] : [])),
      ),
      constants: this.#constants,
      state: this.#slots.get(this.#state),
      outputs: new Map(stored),
    }
  }

  /** The operands whose elements a node reads. */
  #operands(node: Node): readonly Value[] {
    if (isPointwise(node)) return operandsOf(node)
    if (isSampler(node)) return [this.#state]
    const { operator, inputs } = node
    if (operator.startsWith('Reduce')) return [inputs[0]!]
    return Object.hasOwn(kernelOperators, operator) ? operandsOf(node) : readOperands(node)
  }

  #visit(node: Node): void {
    const results = node.outputs.filter((value) => this.#uses.has(value) || this.#outputs.has(value))
    const operands = this.#operands(node)
    const own = getOwn(kernelOperators, node.operator)
    if (own) {
      if (results.some((value) => value !== node.outputs[0])) throw unsupported(`${node.operator} with several results`)
      this.#visitAnchored(node, operands, own.allowsTail)
      return
    }
    const point = isPointwise(node)
    const [first] = node.outputs as [Value]
    const size = elementsOf(first)
    let anchor: Node | null = null
    for (const value of operands) {
      const inline = this.#inline.get(value)
      if (!inline || this.#slots.has(value)) continue
      // The element that a kernel has just computed can be read only at its own position.
      const inPlace = (point && sameShape(value.shape, first.shape)) || keepsOrder(node)
      if (inline.anchor && (!inPlace || anchor)) this.#store(value)
      else if (inline.anchor) anchor = inline.anchor
      else if (inline.cost > maxInlineCost && size >= 4 * elementsOf(value)) this.#store(value)
    }
    const cost = point ? pointwise[node.operator]!.cost : isSampler(node) ? samplingCost : 0
    this.#note(node, results, operands, anchor, cost)
  }

  #visitAnchored(node: Node, operands: readonly Value[], allowsTail: boolean): void {
    const weighs = !node.operator.startsWith('Reduce')
    for (const value of operands) {
      const inline = this.#inline.get(value)
      if (inline && !this.#slots.has(value) && (inline.anchor || (weighs && inline.cost > 0))) this.#store(value)
    }
    const [result] = node.outputs as [Value]
    this.#note(node, [result], operands, node, 0)
    if (!allowsTail) this.#store(result)
  }

  /** Notes how the results of a node are computed, and stores those that have to be in memory. */
  #note(node: Node, results: readonly Value[], operands: readonly Value[], anchor: Node | null, cost: number): void {
    let reads = this.#reads(operands)
    while (reads.size > maxReads) {
      const [largest] = operands
        .filter((value) => !this.#slots.has(value) && this.#inline.has(value))
        .sort((a, b) => this.#inline.get(b)!.reads.size - this.#inline.get(a)!.reads.size)
      if (!largest) throw unsupported(`${node.operator} of ${operands.length} operands`)
      if (this.#inline.get(largest)!.anchor && this.#inline.get(largest)!.anchor === anchor)
        anchor = anchor === node ? anchor : null
      this.#store(largest)
      reads = this.#reads(operands)
    }
    const total = operands.reduce(
      (sum, value) => sum + (this.#slots.has(value) ? 0 : (this.#inline.get(value)?.cost ?? 0)),
      cost,
    )
    for (const value of results) {
      this.#inline.set(value, { anchor, reads, cost: total })
      const uses = this.#uses.get(value) ?? 0
      if (this.#outputs.has(value) || (uses > 1 && (anchor || total > maxInlineCost))) this.#store(value)
    }
  }

  #reads(operands: readonly Value[]): ReadonlySet<Value> {
    const reads = new Set<Value>()
    for (const value of operands) {
      const inline = this.#inline.get(value)
      if (inline && !this.#slots.has(value)) for (const read of inline.reads) reads.add(read)
      else if (literalOf(value) === undefined) {
        this.#slotOf(value)
        reads.add(value)
      }
    }
    return reads
  }

  /** The array of a value in memory; inputs and constants get theirs when they are first needed. */
  #slotOf(value: Value): Slot {
    const known = this.#slots.get(value)
    if (known) return known
    const slot = { type: elementType(value), elements: elementsOf(value) }
    if (slot.elements === 0) throw unsupported('a tensor without elements')
    if (value.source.kind === 'node') throw unsupported(`the result of ${value.source.operator}`)
    if (value.source.kind !== 'input') {
      const { tensor } = value.source
      const large = findLargeInteger(tensor)
      if (large !== undefined) throw unsupported(`the integer ${large}`)
      this.#constants.set(slot, tensor)
    }
    this.#slots.set(value, slot)
    return slot
  }

  /** Adds the kernels that compute a value and store it. */
  #store(value: Value): void {
    if (this.#slots.has(value)) return
    const { anchor } = this.#inline.get(value)!
    const slot: Slot = { type: elementType(value), elements: elementsOf(value) }
    if (slot.elements === 0) throw unsupported('a tensor without elements')
    const memory = { slots: this.#slots, sampling: { state: this.#state, numbers: this.#samplers } }
    this.#kernels.push(
      ...(anchor
        ? kernelOperators[anchor.operator]!.build(memory, anchor, value, slot, this.#division)
        : elementKernels(memory, value, slot)),
    )
    this.#slots.set(value, slot)
  }
}
