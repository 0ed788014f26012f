/** `WebAssembly.Memory` in shared memory: every thread can have it. The core has no platform types. */
export interface WasmMemory {
  readonly buffer: SharedArrayBuffer
  grow(pages: number): number
}

interface MemoryApi {
  readonly Memory: new (size: { initial: number; maximum: number; shared: true }) => WasmMemory
}

/** Bytes of one page of WebAssembly memory. */
export const pageBytes = 2 ** 16
/** The largest memory that 32 bits address. */
export const maxSharedPages = 2 ** 16
/** Alignment of allocated ranges: a cache line. */
const alignment = 64

/** Memories by each of their buffers: a memory that grows gets a new one. */
const memories = new WeakMap<SharedArrayBuffer, WasmMemory>()

/**
 * Creates an empty memory for the arrays of one trainer, from which nothing is freed before all of it. Null if it is
 * not available, as in pages that are not isolated. Its first bytes count the allocated units.
 */
export function createWasmMemory(): WasmMemory | null {
  if (typeof SharedArrayBuffer === 'undefined') return null
  const api = (globalThis as unknown as { WebAssembly?: MemoryApi }).WebAssembly
  try {
    const memory = new api!.Memory({ initial: 1, maximum: maxSharedPages, shared: true })
    new Int32Array(memory.buffer, 0, 1)[0] = 1
    return memory
  } catch {
    return null
  }
}

/** The memory of a buffer that `allocateIn` returned in this thread. */
export const wasmMemoryOf = (buffer: ArrayBufferLike): WasmMemory | undefined =>
  memories.get(buffer as SharedArrayBuffer)

/**
 * Buffers as long as a memory. V8 collects garbage after it has allocated much, and counts buffers, but not shared
 * WebAssembly memory. Nothing is stored in them, so they take addresses only: resizable buffers have pages of their own,
 * which the operating system clears when they are first written to; malloc may clear others.
 */
const counted = new WeakMap<WasmMemory, readonly ArrayBuffer[]>()

/** `ArrayBuffer` of ECMAScript 2024. Older engines ignore the option. */
const Resizable = ArrayBuffer as unknown as new (length: number, options: { maxByteLength: number }) => ArrayBuffer

/** Smallest number of pages by which a memory grows. */
const minGrowthPages = 16

/** A zeroed range of shared memory. */
interface SharedRange {
  readonly buffer: SharedArrayBuffer
  readonly offset: number
}

/** Allocates zeroed bytes, from any thread; null if the memory cannot grow as much. */
export function allocateIn(memory: WasmMemory, bytes: number): SharedRange | null {
  const units = Math.ceil(bytes / alignment)
  const used = new Int32Array(memory.buffer, 0, 1)
  const first = Atomics.load(used, 0)
  const end = (first + units) * alignment
  try {
    const missing = end - memory.buffer.byteLength
    if (missing > 0) {
      const room = maxSharedPages - memory.buffer.byteLength / pageBytes
      const pages = Math.max(Math.ceil(missing / pageBytes), Math.min(minGrowthPages, room))
      memory.grow(pages)
      const maxByteLength = pages * pageBytes
      counted.set(memory, [...(counted.get(memory) ?? []), new Resizable(maxByteLength, { maxByteLength })])
    }
  } catch {
    return null
  }
  // Another thread has allocated meanwhile.
  if (Atomics.compareExchange(used, 0, first, first + units) !== first) return allocateIn(memory, bytes)
  const { buffer } = memory
  memories.set(buffer, memory)
  return { buffer, offset: first * alignment }
}
