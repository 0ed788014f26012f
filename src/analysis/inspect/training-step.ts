import { gradients, type Seed } from '../../grad/gradient.js'
import { dtypes, isFloat } from '../../ir/dtype.js'
import { input } from '../../ir/leaf.js'
import { bodiesOf, dependenciesOf, leavesOf, topological } from '../../ir/topology.js'
import type { Body, Graph, Node, TensorType, Value } from '../../ir/value.js'
import { isRandom } from '../../op/facts.js'
import { size } from '../../op/flops.js'
import { definitionOf } from '../../op/op.js'
import { toFloat32 } from '../../train/model/precision.js'
import { countWork, varyingNodes, type Work } from './work.js'

/** Number of bytes of a tensor; NaN if a length is unknown, 0 for strings. */
const countBytes = (type: TensorType): number => Math.ceil((size(type) * dtypes[type.dtype].bits) / 8)

/**
 * Estimates the peak of onnxruntime's arena: the maximal number of bytes that intermediate tensors and outputs take at
 * once. Nodes run in onnxruntime's order, depth first from the last output. A tensor is freed after its last reader,
 * views share the memory of their operand, and an element-wise operator writes over an operand of which it is the last
 * reader. Scratch memory of kernels, and bodies with unknown lengths, are not included. NaN if a length is unknown.
 */
export function peakBytes(outputs: readonly Value[], constant: (leaf: Value) => boolean): number {
  const order = varyingNodes(topological(outputs.toReversed()), constant)
  return peakOfNodes(order, outputs)
}

function peakOfNodes(order: readonly Node[], outputs: readonly Value[]): number {
  const memory = new Memory(order, outputs)
  for (const node of order) memory.run(node)
  return memory.peak
}

/** A piece of memory that one or more values share. */
interface Buffer {
  readonly bytes: number
  /** Number of pending reads; outputs are read at the end. */
  readers: number
}

class Memory {
  peak = 0
  #allocated = 0
  readonly #readers = new Map<Value, number>()
  readonly #buffers = new Map<Value, Buffer>()

  constructor(order: readonly Node[], outputs: readonly Value[]) {
    for (const x of [...order.flatMap(dependenciesOf), ...outputs])
      this.#readers.set(x, (this.#readers.get(x) ?? 0) + 1)
  }

  run(node: Node): void {
    const inside = bodiesOf(node).map((of) => peakOfNodes(nodesOf(of), of.outputs))
    // Unused optional outputs are not computed.
    const made = node.outputs.filter((y) => y.index === 0 || this.#readers.has(y))
    for (const y of made) this.#place(y, this.#shared(node, y))
    this.peak = highest(this.peak, this.#allocated + Math.max(0, ...inside.filter((bytes) => !Number.isNaN(bytes))))
    const unread = made.filter((y) => !this.#readers.has(y))
    for (const x of [...dependenciesOf(node), ...unread]) this.#release(this.#buffers.get(x))
  }

  #place(y: Value, shared: Buffer | undefined): void {
    const buffer = shared ?? { bytes: countBytes(y), readers: 0 }
    buffer.readers += this.#readers.get(y) ?? 1
    this.#buffers.set(y, buffer)
    if (!shared) this.#allocated += buffer.bytes
  }

  #release(buffer: Buffer | undefined): void {
    if (buffer && --buffer.readers === 0) this.#allocated -= buffer.bytes
  }

  /** The memory of an operand that a result shares. */
  #shared(node: Node, y: Value): Buffer | undefined {
    const [x] = node.inputs
    if (isView(node)) return x ? (this.#buffers.get(x) ?? leaf()) : undefined
    if (!overwrites(node) || y.index > 0) return undefined
    const last = node.inputs.find((x) => x && this.#buffers.get(x)?.readers === 1 && countBytes(x) === countBytes(y))
    return last ? this.#buffers.get(last) : undefined
  }
}

/** Memory of an input or parameter, which the arena does not contain. */
const leaf = (): Buffer => ({ bytes: 0, readers: 0 })

/** Maximum; NaN if either number is NaN. */
const highest = (a: number, b: number): number => (a > b ? a : b >= a ? b : Number.NaN)

const nodesOf = (of: Body): Node[] => topological(of.outputs, ({ scope }) => scope === of.scope)

const isView = (node: Node): boolean => {
  const { view } = definitionOf(node.operator)
  return (view === 'same' || view === 'reshaped') && !isRandom(node)
}

const overwrites = ({ operator }: Node): boolean => definitionOf(operator).elementwise

/** Number of operations per example. */
export interface Operations {
  readonly flops: number
  /** Whether operations are missing from `flops`; `notes` lists them. */
  readonly atLeast: boolean
  readonly notes: readonly string[]
}

/**
 * Estimated memory of a training step in bytes. A batch of B examples takes parameters + gradients + optimizer moments
 * + `activations.fixed` + B `activations.perExample`. For gradients and activations, onnxruntime's CPU provider was
 * measured to take 1.1 (vision transformer) to 1.5 times as much (ResNets, whose kernels change the memory layout).
 */
export interface StepMemory {
  /** All parameters and constants; half precision counts as float32. */
  readonly parameters: number
  readonly gradients: number
  /** Optimizer state: one number per trained element for SGD with momentum, two for Adam, one byte for IRE. */
  readonly moments: { readonly sgd: number; readonly adam: number; readonly ireMask: number }
  /** Peak memory in addition to the gradients; null if unknown. */
  readonly activations: { readonly fixed: number; readonly perExample: number } | null
}

/** The forward pass and the gradients of the trained tensors, without a loss. */
export interface TrainingStep {
  readonly outputs: readonly Value[]
  /** Parameters that have a gradient. */
  readonly trained: ReadonlySet<Value>
}

/** Builds a training step without a loss. Throws `not-differentiable`. */
export function buildTrainingStep(graph: Graph, names: ReadonlySet<string>): TrainingStep {
  const { parameters, outputs } = toFloat32(graph)
  const varied = [...parameters].flatMap(([name, value]) => (names.has(name) ? [value] : []))
  const floats = [...outputs].filter(([, y]) => isFloat(y.dtype))
  const dxs = gradients(
    floats.map(([name, y]): Seed => [y, input(`dy/${name}`, y.dtype, y.shape)]),
    varied,
  )
  return {
    outputs: [...floats.map(([, y]) => y), ...dxs.filter((dx) => dx !== null)],
    trained: new Set(varied.filter((_, i) => dxs[i])),
  }
}

export const countForwardWork = ({ outputs }: Graph): Work =>
  countWork(outputs.values(), ({ source }) => source.kind === 'parameter')

const constantIn =
  ({ trained }: TrainingStep) =>
  (leaf: Value): boolean =>
    leaf.source.kind === 'parameter' && !trained.has(leaf)

export const countTrainingWork = (step: TrainingStep): Work => countWork(step.outputs, constantIn(step))

/** Converts the work of a batch of `examples` to operations per example. */
export function toOperations({ flops, unknown, unbounded }: Work, examples: number): Operations {
  const notes = [
    ...noteOperators(unknown, 'depends on unknown lengths or data, and is not counted'),
    ...noteOperators(unbounded, 'has an unknown number of iterations, and is counted once'),
  ]
  return { flops: flops / examples, atLeast: notes.length > 0, notes }
}

/** One note per operator. */
function noteOperators(nodes: readonly Node[], what: string): string[] {
  const counts = new Map<string, number>()
  for (const { operator } of nodes) counts.set(operator, (counts.get(operator) ?? 0) + 1)
  return [...counts].map(([operator, count]) => `${operator}${count > 1 ? ` (${count} times)` : ''} ${what}`)
}

/** A training step and its number of examples. */
interface Run {
  readonly step: TrainingStep
  readonly examples: number
}

/**
 * Estimates the memory of a training step.
 * @param larger the step with more examples, if the model has a variable batch size
 */
export function estimateMemory({ step, examples }: Run, larger: Run | undefined): StepMemory {
  const trained = [...step.trained]
  const elements = trained.reduce((sum, { shape }) => sum + (shape as readonly number[]).reduce((a, b) => a * b, 1), 0)
  const held = leavesOf(step.outputs).filter(({ source }) => source.kind !== 'input')
  const gradients = sumBytes(trained)
  const beside = (step: TrainingStep) => Math.max(0, peakBytes(step.outputs, constantIn(step)) - gradients)
  const few = beside(step)
  const slope = larger ? (beside(larger.step) - few) / (larger.examples - examples) : few / examples
  return {
    parameters: sumBytes(held),
    gradients,
    moments: { sgd: gradients, adam: 2 * gradients, ireMask: elements },
    activations: Number.isNaN(slope) ? null : { fixed: Math.max(0, few - examples * slope), perExample: slope },
  }
}

const sumBytes = (values: readonly Value[]): number => values.reduce((sum, value) => sum + countBytes(value), 0)
