import { dtypes } from '../../ir/dtype.js'
import { bodiesOf, dependenciesOf, nodesOf, topological } from '../../ir/topology.js'
import type { Node, TensorType, Value } from '../../ir/value.js'
import { sharesMemory } from '../../op/facts.js'
import { size } from '../../op/flops.js'
import { definitionOf } from '../../op/op.js'
import { varyingNodes } from './work.js'

/** Number of bytes of a tensor; NaN if a length is unknown, 0 for strings. */
export const countBytes = (type: TensorType): number => Math.ceil((size(type) * dtypes[type.dtype].bits) / 8)

/**
 * Estimates the memory of onnxruntime's arena after a run: intermediate tensors and outputs. Nodes run in onnxruntime's
 * order, depth first from the last output. A tensor is freed after its last reader, views share the memory of their
 * operand, and an element-wise operator writes over an operand of which it is the last reader. Scratch memory of
 * kernels, and bodies with unknown lengths, are not included. NaN if a length is unknown.
 */
export function peakBytes(outputs: readonly Value[], constant: (leaf: Value) => boolean): number {
  const memory = new Memory(new Arena())
  memory.runAll(varyingNodes(topological(outputs.toReversed()), constant), outputs)
  return memory.bytes
}

/** A piece of memory that one or more values share. */
interface Buffer {
  /** Undefined for memory outside of the arena. */
  readonly chunk?: Chunk
  /** Number of pending reads; outputs are read at the end. */
  readers: number
}

class Memory {
  readonly #arena: Arena
  /** Whether a length is unknown. */
  #isUnknown = false
  readonly #readers = new Map<Value, number>()
  readonly #buffers = new Map<Value, Buffer>()

  constructor(arena: Arena) {
    this.#arena = arena
  }

  get bytes(): number {
    return this.#isUnknown ? Number.NaN : this.#arena.resident
  }

  /** Runs nodes in order, and leaves the outputs allocated. */
  runAll(order: readonly Node[], outputs: readonly Value[]): void {
    for (const x of [...order.flatMap(dependenciesOf), ...outputs])
      this.#readers.set(x, (this.#readers.get(x) ?? 0) + 1)
    for (const node of order) this.#run(node)
  }

  #run(node: Node): void {
    // Unused optional outputs are not computed.
    const made = node.outputs.filter((y) => y.index === 0 || this.#readers.has(y))
    for (const y of made) this.#place(y, this.#shared(node, y))
    for (const of of bodiesOf(node)) {
      const inside = new Memory(this.#arena)
      inside.runAll(nodesOf(of), of.outputs)
      inside.#releaseAll()
    }
    const unread = made.filter((y) => !this.#readers.has(y))
    for (const x of [...dependenciesOf(node), ...unread]) this.#release(this.#buffers.get(x))
  }

  #place(y: Value, shared: Buffer | undefined): void {
    const buffer = shared ?? this.#allocate(countBytes(y))
    buffer.readers += this.#readers.get(y) ?? 1
    this.#buffers.set(y, buffer)
  }

  #allocate(bytes: number): Buffer {
    if (!Number.isNaN(bytes)) return bytes === 0 ? outside() : { chunk: this.#arena.allocate(bytes), readers: 0 }
    this.#isUnknown = true
    return outside()
  }

  #release(buffer: Buffer | undefined): void {
    if (buffer && --buffer.readers === 0 && buffer.chunk) this.#arena.release(buffer.chunk)
  }

  #releaseAll(): void {
    for (const buffer of new Set(this.#buffers.values()))
      if (buffer.readers > 0 && buffer.chunk) this.#arena.release(buffer.chunk)
  }

  /** The memory of an operand that a result shares. */
  #shared(node: Node, y: Value): Buffer | undefined {
    const [x] = node.inputs
    if (sharesMemory(node)) return x ? (this.#buffers.get(x) ?? outside()) : undefined
    if (!overwrites(node) || y.index > 0) return undefined
    const last = node.inputs.find((x) => x && this.#buffers.get(x)?.readers === 1 && countBytes(x) === countBytes(y))
    return last ? this.#buffers.get(last) : undefined
  }
}

/** Memory that the arena does not contain, such as that of an input or parameter. */
const outside = (): Buffer => ({ readers: 0 })

const overwrites = ({ operator }: Node): boolean => definitionOf(operator).elementwise

/** Sizes of an arena are multiples of this number of bytes. */
const granularity = 256
/** Size of the first region. */
const firstRegion = 2 ** 20
/** Largest size of a region, unless a single tensor needs more. */
const maxRegion = 2 ** 30
/** A free chunk is split if this many bytes would remain unused, or half of it. */
const minSplitRemainder = 128 * 2 ** 20

/** A piece of a region. Neighbors are the adjacent pieces of the same region. */
export interface Chunk {
  readonly region: Region
  readonly offset: number
  size: number
  free: boolean
  previous: Chunk | undefined
  next: Chunk | undefined
}

/** Memory requested from the system at once. */
interface Region {
  /** Bytes from the start that were ever in use: the system provides pages when they are first written. */
  touched: number
}

/**
 * Model of onnxruntime's arena on the CPU (`BFCArena`): best fit with splitting and joining of chunks, in regions whose
 * sizes double. It never returns memory to the system, so that tensors of many sizes leave gaps that no later tensor
 * fits into. `resident` is the memory that the process takes for it.
 */
export class Arena {
  readonly #regions: Region[] = []
  /** Free chunks, sorted by size. */
  readonly #free: Chunk[] = []
  #nextRegion = firstRegion

  get resident(): number {
    return this.#regions.reduce((sum, { touched }) => sum + touched, 0)
  }

  allocate(bytes: number): Chunk {
    const size = Math.max(granularity, Math.ceil(bytes / granularity) * granularity)
    const at = this.#firstFit(size)
    if (at === this.#free.length) this.#extend(size)
    const [chunk] = this.#free.splice(this.#firstFit(size), 1) as [Chunk]
    chunk.free = false
    if (chunk.size >= 2 * size || chunk.size - size >= minSplitRemainder) this.#split(chunk, size)
    chunk.region.touched = Math.max(chunk.region.touched, chunk.offset + bytes)
    return chunk
  }

  release(chunk: Chunk): void {
    let joined = chunk
    const { previous, next } = chunk
    if (next?.free) {
      this.#remove(next)
      joined.size += next.size
      joined.next = next.next
      if (next.next) next.next.previous = joined
    }
    if (previous?.free) {
      this.#remove(previous)
      previous.size += joined.size
      previous.next = joined.next
      if (joined.next) joined.next.previous = previous
      joined = previous
    }
    this.#add(joined)
  }

  #extend(size: number): void {
    let doubled = false
    for (; this.#nextRegion < size; doubled = true) this.#nextRegion *= 2
    const region: Region = { touched: 0 }
    this.#regions.push(region)
    const bytes = Math.max(size, Math.min(this.#nextRegion, maxRegion))
    this.#add({ region, offset: 0, size: bytes, free: true, previous: undefined, next: undefined })
    if (!doubled) this.#nextRegion *= 2
  }

  #split(chunk: Chunk, size: number): void {
    const { region, offset, next } = chunk
    const rest: Chunk = { region, offset: offset + size, size: chunk.size - size, free: true, previous: chunk, next }
    if (next) next.previous = rest
    chunk.next = rest
    chunk.size = size
    this.#add(rest)
  }

  #add(chunk: Chunk): void {
    chunk.free = true
    this.#free.splice(this.#firstFit(chunk.size), 0, chunk)
  }

  #remove(chunk: Chunk): void {
    this.#free.splice(this.#free.indexOf(chunk), 1)
  }

  /** Index of the smallest free chunk of at least `size` bytes. */
  #firstFit(size: number): number {
    let [low, high] = [0, this.#free.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#free[middle]!.size < size) low = middle + 1
      else high = middle
    }
    return low
  }
}
