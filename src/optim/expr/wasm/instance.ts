import { allocateIn, maxSharedPages, pageBytes, type WasmMemory } from '../../../ir/wasm-memory.js'
import { assemble, code, type Func, i32, type MemoryLimits, memory } from './assembler.js'

/** The part of the WebAssembly API that this file uses. The core has no platform types. */
interface WebAssemblyApi {
  readonly Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer }
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown }
}

const pageCount = 8

/** Memory with room for kernels, whose contents there are valid during one kernel call only. */
interface Wasm<Buffer extends ArrayBufferLike = ArrayBufferLike> {
  readonly buffer: Buffer
  /** The offset of the `kernelMemoryBytes` bytes for kernels. */
  readonly offset: number
  /** Compiles a module, and returns its exported functions. */
  instantiate<Exports>(functions: readonly Func[]): Exports
}

/** Bytes for kernels. */
export const kernelMemoryBytes = pageCount * pageBytes

let host: Wasm<ArrayBuffer> | null | undefined

/**
 * Returns the memory of this thread's modules; null if WebAssembly with vectors is unavailable or forbidden by a
 * content security policy.
 */
export function getWasm(): Wasm<ArrayBuffer> | null {
  if (host === undefined) host = startWasm()
  return host
}

function startWasm(): Wasm<ArrayBuffer> | null {
  const api = (globalThis as { WebAssembly?: WebAssemblyApi }).WebAssembly
  if (!api) return null
  try {
    new api.Module(assemble([probe], { pages: pageCount }))
    const memory = new api.Memory({ initial: pageCount, maximum: pageCount })
    return { buffer: memory.buffer, offset: 0, instantiate: instantiateOver(api, memory, { pages: pageCount }) }
  } catch {
    return null
  }
}

const instantiateOver =
  (api: WebAssemblyApi, memory: object, limits: MemoryLimits) =>
  <Exports>(functions: readonly Func[]): Exports => {
    // Synchronous, because steps may be synchronous; browsers allow this for small modules.
    const module = new api.Module(assemble(functions, limits))
    return new api.Instance(module, { host: { memory } }).exports as Exports
  }

const shared = new WeakMap<WasmMemory, Wasm | null>()

/** `getWasm` for memory that contains the arrays of a trainer. Every thread has its own bytes for kernels there. */
export function getSharedWasm(memory: WasmMemory): Wasm | null {
  let found = shared.get(memory)
  if (found === undefined) {
    const api = (globalThis as { WebAssembly?: WebAssemblyApi }).WebAssembly
    const range = getWasm() && allocateIn(memory, kernelMemoryBytes)
    found = api && range ? { ...range, instantiate: instantiateOver(api, memory, { maxSharedPages }) } : null
    shared.set(memory, found)
  }
  return found
}

/** A function with vector instructions, which compiles only if the engine supports them. */
const probe: Func = {
  name: 'probe',
  parameters: [],
  locals: ['v128'],
  body: [
    ...i32(0),
    ...[...i32(0), ...memory('v128.load', 0)],
    ...[...i32(0), ...memory('v128.load', 0)],
    ...code('f32x4.add'),
    ...memory('v128.store', 0),
  ],
}
