import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-web/wasm'
import type { Tensor } from '../../ir/tensor.js'
import { identityModel } from '../../runtime/ort.js'
import { type CompileHints, threadRange } from '../../runtime/runtime.js'
import { checkNumber, invalidOption } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import type { WasmFiles, WasmSettings } from './wasm-settings.js'
import { watchThreads } from './watch-threads.js'

export type { InferenceSession, OrtTensor }
export type Ort = typeof import('onnxruntime-web/wasm')

/** Number of threads of a runtime. Throws `invalid-option`. */
function threadsOf({ threads }: WasmSettings): number {
  const isolated = globalThis.crossOriginIsolated === true
  if (threads === undefined) return isolated ? Math.max(1, navigator.hardwareConcurrency) : 1
  checkNumber('wasm', 'threads', threads, threadRange)
  if (threads > 1 && !isolated)
    throw new OnnxIreError(
      'invalid-option',
      `${threads} threads need a cross-origin isolated page: serve it with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp, or omit threads`,
    )
  return threads
}

/** Environments of the modules that have started, whose settings no longer have an effect. */
const started = new WeakSet<Ort['env']>()

/** Errors of modules whose threads have not started: every later start would wait for them without end. */
const stuck = new WeakMap<Ort['env'], OnnxIreError>()

/**
 * Loads one of onnxruntime-web's modules. Its settings apply to all of its sessions, from the first one on.
 * @param bundled its files, as `new URL(..., import.meta.url)`
 * @throws OnnxIreError `runtime` if it cannot be loaded
 */
export async function loadOrt(
  name: string,
  load: () => Promise<unknown>,
  settings: WasmSettings,
  bundled: Required<WasmFiles>,
): Promise<Ort> {
  checkWasmPaths(name === 'onnxruntime-web/wasm' ? 'wasm' : 'webgpu', settings.wasmPaths)
  const threads = threadsOf(settings)
  const ort = (await load().catch((cause) => {
    throw new OnnxIreError(
      'runtime',
      `${name} does not load: ${(cause as Error).message}; the package onnxruntime-web must be installed (npm install onnxruntime-web), and the page must be able to load its module`,
      { cause },
    )
  })) as Ort
  if (started.has(ort.env)) return ort
  ort.env.logLevel = 'error'
  ort.env.wasm.numThreads = threads
  // By default onnxruntime starts threads from its own module. A bundler may have added imports to it that a worker
  // cannot load, and then it hangs. The separate files have no imports.
  const wasmPaths = settings.wasmPaths ?? (isUnbundled(bundled.mjs) ? undefined : bundled)
  if (wasmPaths !== undefined) ort.env.wasm.wasmPaths = wasmPaths
  return ort
}

/** Throws `invalid-option` for text that is not a folder: onnxruntime appends the names of its files to it. */
function checkWasmPaths(owner: string, wasmPaths: WasmSettings['wasmPaths']): void {
  if (typeof wasmPaths !== 'string' || (/^(\.{0,2}\/|[a-z][a-z\d+.-]*:)/i.test(wasmPaths) && wasmPaths.endsWith('/')))
    return
  const allowed = "a folder that begins with '/', './', '../' or a protocol and ends with '/', or { wasm, mjs }"
  throw invalidOption(owner, 'wasmPaths', wasmPaths, allowed)
}

/** Whether no bundler has replaced the URL, which then does not exist. */
const isUnbundled = (mjs: string | URL): boolean => /\/onnxruntime-web\/ort-wasm[^/]*$/.test(String(mjs))

/**
 * Starts a provider with a model of one node, and returns its session: onnxruntime starts it only with its first model.
 * @throws OnnxIreError `runtime` naming the provider that does not start, and the reason
 */
export async function startProvider(
  ort: Ort,
  provider: string,
  options: InferenceSession.SessionOptions,
): Promise<InferenceSession> {
  const earlier = stuck.get(ort.env)
  if (earlier) throw earlier
  const create = () => ort.InferenceSession.create(identityModel('float32'), options)
  const startsThreads = !started.has(ort.env) && ort.env.wasm.numThreads !== 1
  try {
    const session = await (startsThreads ? watchThreads(provider, create) : create())
    started.add(ort.env)
    return session
  } catch (cause) {
    if (cause instanceof OnnxIreError) {
      stuck.set(ort.env, cause)
      throw cause
    }
    const message = messageOf(cause)
    throw new OnnxIreError('runtime', `onnxruntime's ${provider} does not start: ${message}${startAdvice(message)}`, {
      cause,
    })
  }
}

/** Advice on a failed start. onnxruntime answers every later start with the first failure. */
function startAdvice(message: string): string {
  const again = 'onnxruntime does not start again in this page or worker: reload the page or create another worker'
  if (/Content Security Policy/i.test(message))
    return `; the page's Content-Security-Policy forbids WebAssembly: add 'wasm-unsafe-eval' to its script-src`
  if (/another WebGPU EP/i.test(message)) return `; an earlier start has failed; ${again}`
  // A server that has no such file sends nothing, or its start page.
  return /CompileError|MIME type|NetworkError|fetch|404|module/i.test(message)
    ? `; check that the page can load onnxruntime-web's ort-wasm-* files (the server must send the .mjs file as text/javascript, and a Content-Security-Policy must allow it), and give their location by wasmPaths; ${again}`
    : ''
}

/** The options of a session whose model has weights beside it. */
export const withData = (
  options: InferenceSession.SessionOptions,
  externalData: CompileHints['externalData'] = new Map(),
): InferenceSession.SessionOptions =>
  externalData.size > 0
    ? { ...options, externalData: Array.from(externalData, ([path, data]) => ({ path, data })) }
    : options

/** Creates a session. @throws OnnxIreError `runtime` with onnxruntime's own message */
export async function createSession(
  ort: Ort,
  model: Uint8Array,
  options: InferenceSession.SessionOptions,
): Promise<InferenceSession> {
  // onnxruntime cannot decode shared memory.
  const own = model.buffer instanceof ArrayBuffer ? model : new Uint8Array(model)
  try {
    return await ort.InferenceSession.create(own, options)
  } catch (cause) {
    throw new OnnxIreError('runtime', `onnxruntime rejected the model: ${messageOf(cause)}`, { cause })
  }
}

/** Runs a session. @throws OnnxIreError `runtime` with onnxruntime's own message */
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

/** Message of an error. WebAssembly throws its own failures as numbers, pointers into its memory. */
const messageOf = (cause: unknown): string =>
  cause instanceof Error ? cause.message : `it failed within WebAssembly (${cause}); out of memory is the likely cause`

/** Converts a tensor whose dtype and array `checkFeeds` has compared. */
export const toOrtTensor = (ort: Ort, { dtype, dims, data }: Tensor): OrtTensor =>
  new ort.Tensor(dtype as 'float32', data as Float32Array, dims)
