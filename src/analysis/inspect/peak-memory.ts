import { dtypes } from '../../ir/dtype.js'
import { bodiesOf, dependenciesOf, topological } from '../../ir/topology.js'
import type { Body, Node, TensorType, Value } from '../../ir/value.js'
import { isRandom } from '../../op/facts.js'
import { size } from '../../op/flops.js'
import { definitionOf } from '../../op/op.js'
import { varyingNodes } from './work.js'

/** Number of bytes of a tensor; NaN if a length is unknown, 0 for strings. */
export const countBytes = (type: TensorType): number => Math.ceil((size(type) * dtypes[type.dtype].bits) / 8)

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
