import { assemble, code, type Func, i32, memory } from './assembler.js'

/** The little of the WebAssembly API that is used here; the core knows no platform's types. */
interface WebAssemblyApi {
  readonly Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer }
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown }
}

/** What one page of WebAssembly's memory holds. */
const PAGE = 2 ** 16
const PAGES = 8

/** The memory that all modules share. Every call is over before the next begins: what it holds need not outlive one. */
export interface Wasm {
  readonly buffer: ArrayBuffer
  /** The exported functions of a module. */
  instantiate<Exports>(functions: readonly Func[]): Exports
}

/** Bytes of the shared memory. */
export const MEMORY_BYTES = PAGES * PAGE

let host: Wasm | null | undefined

/** Null where there is no WebAssembly with vectors, or where a content security policy refuses to compile it. */
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
        // Compiled at once, for steps may be synchronous; browsers allow it for small modules.
        const module = new api.Module(assemble(functions, PAGES))
        return new api.Instance(module, { host: { memory } }).exports as Exports
      },
    }
  } catch {
    return null
  }
}

/** Doubles a vector: compiles where vectors are known. */
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
