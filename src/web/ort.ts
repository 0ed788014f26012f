import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-web/wasm'
import type { DType } from '../ir/dtype.js'
import type { Tensor } from '../ir/tensor.js'
import type { InputInfo } from '../runtime/feeds.js'
import { passage } from '../runtime/passage.js'
import { OnnxIreError } from '../util/errors.js'

export type { InferenceSession, OrtTensor }
export type Ort = typeof import('onnxruntime-web/wasm')

/** Addresses of onnxruntime-web's WebAssembly and of the module that loads it. */
export interface WasmFiles {
  readonly wasm?: string | URL
  readonly mjs?: string | URL
}

/** Where onnxruntime's WebAssembly comes from, and how it runs. */
export interface WasmSettings {
  /**
   * Where onnxruntime-web's `ort-wasm-*` files are: a folder, ending in '/', or the addresses of the two. Default: where
   * Vite (or another bundler that follows `new URL(..., import.meta.url)`) puts them; without one, beside onnxruntime-web's
   * own module, where the package has them.
   */
  readonly wasmPaths?: string | WasmFiles | undefined
  /**
   * Threads one operator may use; more than 1 need a page that is cross-origin isolated. Default: the processor's, where
   * the page is, else 1; with `webgpu` 1, for the GPU does the work.
   */
  readonly threads?: number | undefined
}

/** Threads of a runtime. Throws `invalid-option`. */
export function threadsOf({ threads }: WasmSettings): number {
  const isolated = globalThis.crossOriginIsolated === true
  if (threads === undefined) return isolated ? Math.max(1, navigator.hardwareConcurrency) : 1
  if (!Number.isSafeInteger(threads) || threads < 1)
    throw new OnnxIreError('invalid-option', `threads must be a whole number of at least 1, not ${threads}`)
  if (threads > 1 && !isolated)
    throw new OnnxIreError(
      'invalid-option',
      `${threads} threads need a page that is cross-origin isolated: serve it with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp, or leave threads out`,
    )
  return threads
}

/**
 * Loads one of onnxruntime-web's modules. Its settings hold for all that is loaded from it, and from when it first makes a
 * session.
 * @param bundled its files, as `new URL(..., import.meta.url)`
 * @throws 'runtime' when it cannot be loaded
 */
export async function loaded(
  name: string,
  load: () => Promise<unknown>,
  settings: WasmSettings,
  bundled: Required<WasmFiles>,
): Promise<Ort> {
  const threads = threadsOf(settings)
  const ort = (await load().catch((cause) => {
    throw new OnnxIreError(
      'runtime',
      `${name} does not load: ${(cause as Error).message}; the package onnxruntime-web must be installed, and its module within the page's reach`,
      { cause },
    )
  })) as Ort
  ort.env.logLevel = 'error'
  ort.env.wasm.numThreads = threads
  // By itself onnxruntime starts threads from the module it stands in, which a bundler may have given imports that no
  // worker can run: it hangs. The files of their own have none.
  const wasmPaths = settings.wasmPaths ?? (isUnbundled(bundled.mjs) ? undefined : bundled)
  if (wasmPaths !== undefined) ort.env.wasm.wasmPaths = wasmPaths
  return ort
}

/** Whether no bundler has replaced the address, which then leads nowhere. */
const isUnbundled = (mjs: string | URL): boolean => /\/onnxruntime-web\/ort-wasm[^/]*$/.test(String(mjs))

/**
 * Starts a provider by a model of one node, for onnxruntime does so only when it first has a model.
 * @throws 'runtime' saying what provider does not start, and why
 */
export async function startProvider(
  ort: Ort,
  provider: string,
  options: InferenceSession.SessionOptions,
): Promise<void> {
  try {
    const session = await ort.InferenceSession.create(passage('float32'), options)
    await session.release()
  } catch (cause) {
    throw new OnnxIreError('runtime', `onnxruntime's ${provider} does not start: ${messageOf(cause)}`, { cause })
  }
}

/** @throws 'runtime' with onnxruntime's own message */
export async function createSession(
  ort: Ort,
  model: Uint8Array,
  options: InferenceSession.SessionOptions,
): Promise<InferenceSession> {
  // Shared memory cannot be decoded.
  const own = model.buffer instanceof ArrayBuffer ? model : new Uint8Array(model)
  try {
    return await ort.InferenceSession.create(own, options)
  } catch (cause) {
    throw new OnnxIreError('runtime', `onnxruntime rejected the model: ${messageOf(cause)}`, { cause })
  }
}

/** @throws 'runtime' with onnxruntime's own message */
export async function runSession(
  session: InferenceSession,
  feeds: Readonly<Record<string, OrtTensor>>,
): Promise<Readonly<Record<string, OrtTensor>>> {
  try {
    return (await session.run(feeds)) as Record<string, OrtTensor>
  } catch (cause) {
    throw new OnnxIreError('runtime', `onnxruntime could not run the model: ${messageOf(cause)}`, { cause })
  }
}

/** WebAssembly's own failures are thrown as numbers: pointers into its memory. */
const messageOf = (cause: unknown): string =>
  cause instanceof Error ? cause.message : `it failed within WebAssembly (${cause}); out of memory is the likely cause`

/** @throws 'runtime' for an input that is no tensor */
export const inputsOf = (session: InferenceSession): InputInfo[] =>
  session.inputMetadata.map((input) => {
    if (input.isTensor) return { name: input.name, dtype: input.type as DType }
    throw new OnnxIreError('runtime', `input '${input.name}' is no tensor: sequences and maps cannot be fed`)
  })

/** The dtype and its array have been compared by `checkFeeds`. */
export const toOrt = (ort: Ort, { dtype, dims, data }: Tensor): OrtTensor =>
  new ort.Tensor(dtype as 'float32', data as Float32Array, dims)
