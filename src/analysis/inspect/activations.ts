import { dtypes } from '../../ir/dtype.js'
import { bodiesOf, dependenciesOf, topological } from '../../ir/topology.js'
import type { Body, Node, TensorType, Value } from '../../ir/value.js'
import { isRandom } from '../../op/facts.js'
import { size } from '../../op/flops.js'
import { definitionOf } from '../../op/op.js'
import { varyingNodes } from './work.js'

/** The bytes of a tensor; NaN where a length is not known. Strings count nothing. */
export const bytesOf = (type: TensorType): number => Math.ceil((size(type) * dtypes[type.dtype].bits) / 8)

/**
 * The most bytes that the tensors between a graph's inputs and its outputs, and these, take at one moment: an estimate of
 * onnxruntime's arena. It runs nodes as onnxruntime orders them, depth first from the last result; a tensor is freed behind
 * its last reader, a Reshape or an Identity shares its operand's memory, and an elementwise operator writes over an operand
 * that it is the last to read. Scratch memory of kernels is not in it, nor what bodies hold whose lengths are not known. NaN where a length is not known.
 */
export function peakBytes(outputs: readonly Value[], constant: (leaf: Value) => boolean): number {
  const order = varyingNodes(topological(outputs.toReversed()), constant)
  return peakOf(order, outputs)
}

function peakOf(order: readonly Node[], outputs: readonly Value[]): number {
  const memory = new Memory(order, outputs)
  for (const node of order) memory.run(node)
  return memory.peak
}

/** One piece of memory, and the values that stand in it. */
interface Buffer {
  readonly bytes: number
  /** Readings that are still to come; results are read at the end. */
  readers: number
}

class Memory {
  peak = 0
  private held = 0
  private readonly readers = new Map<Value, number>()
  private readonly buffers = new Map<Value, Buffer>()

  constructor(order: readonly Node[], outputs: readonly Value[]) {
    for (const x of [...order.flatMap(dependenciesOf), ...outputs]) this.readers.set(x, (this.readers.get(x) ?? 0) + 1)
  }

  run(node: Node): void {
    const inside = bodiesOf(node).map((of) => peakOf(nodesOf(of), of.outputs))
    // An optional output that nobody asks for is not there.
    const made = node.outputs.filter((y) => y.index === 0 || this.readers.has(y))
    for (const y of made) this.place(y, this.shared(node, y))
    this.peak = highest(this.peak, this.held + Math.max(0, ...inside.filter((bytes) => !Number.isNaN(bytes))))
    const unread = made.filter((y) => !this.readers.has(y))
    for (const x of [...dependenciesOf(node), ...unread]) this.release(this.buffers.get(x))
  }

  private place(y: Value, shared: Buffer | undefined): void {
    const buffer = shared ?? { bytes: bytesOf(y), readers: 0 }
    buffer.readers += this.readers.get(y) ?? 1
    this.buffers.set(y, buffer)
    if (!shared) this.held += buffer.bytes
  }

  private release(buffer: Buffer | undefined): void {
    if (buffer && --buffer.readers === 0) this.held -= buffer.bytes
  }

  /** The operand's memory that a result stands in. */
  private shared(node: Node, y: Value): Buffer | undefined {
    const [x] = node.inputs
    if (isView(node)) return x ? (this.buffers.get(x) ?? leaf()) : undefined
    if (!overwrites(node) || y.index > 0) return undefined
    const last = node.inputs.find((x) => x && this.buffers.get(x)?.readers === 1 && bytesOf(x) === bytesOf(y))
    return last ? this.buffers.get(last) : undefined
  }
}

/** What stands in an input's or a parameter's memory takes none. */
const leaf = (): Buffer => ({ bytes: 0, readers: 0 })

/** NaN, once there is one. */
const highest = (a: number, b: number): number => (a > b ? a : b >= a ? b : Number.NaN)

const nodesOf = (of: Body): Node[] => topological(of.outputs, ({ scope }) => scope === of.scope)

const isView = (node: Node): boolean => {
  const { view } = definitionOf(node.operator)
  return (view === 'same' || view === 'reshaped') && !isRandom(node)
}

const overwrites = ({ operator }: Node): boolean => definitionOf(operator).elementwise
