import { assemble, code, type Func, i32, memory } from './assembler.js'

/** The part of the WebAssembly API that this file uses. The core has no platform types. */
interface WebAssemblyApi {
  readonly Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer }
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown }
}

/** Bytes of one page of WebAssembly memory. */
const PAGE = 2 ** 16
const PAGES = 8

/** The memory that all modules share. Its contents are valid during one kernel call only. */
interface Wasm {
  readonly buffer: ArrayBuffer
  /** Compiles a module, and returns its exported functions. */
  instantiate<Exports>(functions: readonly Func[]): Exports
}

/** Bytes of the shared memory. */
export const MEMORY_BYTES = PAGES * PAGE

let host: Wasm | null | undefined

/**
 * Returns the shared memory; null if WebAssembly with vectors is unavailable or forbidden by a content security policy.
 */
export function getWasm(): Wasm | null {
  if (host === undefined) host = startWasm()
  return host
}

function startWasm(): Wasm | null {
  const api = (globalThis as { WebAssembly?: WebAssemblyApi }).WebAssembly
  if (!api) return null
  try {
    new api.Module(assemble([probe], PAGES))
    const memory = new api.Memory({ initial: PAGES, maximum: PAGES })
    return {
      buffer: memory.buffer,
      instantiate: <Exports>(functions: readonly Func[]) => {
        // Synchronous, because steps may be synchronous; browsers allow this for small modules.
        const module = new api.Module(assemble(functions, PAGES))
        return new api.Instance(module, { host: { memory } }).exports as Exports
      },
    }
  } catch {
    return null
  }
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
