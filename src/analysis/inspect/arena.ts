/** Sizes of an arena are multiples of this number of bytes. */
const granularity = 256
/** Size of the first region. */
const firstRegion = 2 ** 20
/** Largest size of a region, unless a single tensor needs more. */
const largestRegion = 2 ** 30
/** A free chunk is split if this many bytes would remain unused, or half of it. */
const largestRemainder = 128 * 2 ** 20

/** A piece of a region. Neighbours are the adjacent pieces of the same region. */
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
    if (chunk.size >= 2 * size || chunk.size - size >= largestRemainder) this.#split(chunk, size)
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
    const bytes = Math.max(size, Math.min(this.#nextRegion, largestRegion))
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
