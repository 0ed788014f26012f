/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The interface to onnxruntime. To implement a runtime: `compile` serialized ONNX into programs that check their feeds
 * with `checkFeeds` and return all outputs; `allocate` the arrays that are fed again and again; `dispose` everything.
 * Carry out one call at a time if the provider needs it, in the order of the calls. Throw `runtime` with onnxruntime's
 * own message, and `disposedError` after `dispose` or `release`; a `compile` during which `dispose` is called throws it
 * too. A runtime that can store tensors between runs has a `device`.
 */
import { type DType, dtypes, type TypedArray } from '../ir/dtype.js'
import type { Tensors } from '../ir/tensor.js'
import { invalidOption, type Range } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { CompileHints } from './compile-hints.js'
import type { Device } from './device.js'

export type { CompileHints } from './compile-hints.js'

/** Execution provider of onnxruntime. It determines the operators into which a graph is lowered. */
export type Provider = 'cpu' | 'cuda' | 'wasm' | 'webgpu'

/** Numbers of threads that a runtime accepts: more than any machine has would only exhaust its memory. */
export const threadRange: Range = { min: 1, max: 1024, integer: true }

/** A compiled ONNX model, ready to run. Calls may overlap; a runtime queues them if its provider requires it. */
export interface Program {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /**
   * Runs the model once. Every graph input must be fed, and no other name (onnxruntime silently ignores unknown names;
   * here they are an `invalid-data` error). The arrays of `feeds` are read when the run starts: do not change them
   * until the promise settles. Outputs never share memory with them.
   * @throws OnnxIreError `invalid-data` naming the input, and `runtime` with onnxruntime's own message; the program
   * stays usable
   */
  run(feeds: Tensors): Promise<Tensors>
  /**
   * As `run`, but writes the outputs named in `outputs` to the arrays given there, of the outputs' dtypes and dims. The
   * result contains these tensors. Absent if the runtime always creates new arrays.
   */
  runInto?(feeds: Tensors, outputs: Tensors): Promise<Tensors>
  /** Frees the session after the runs requested before. Running afterwards is an error; releasing twice is not. */
  release(): Promise<void>
}

/** Executes models with one provider. The user chooses it (`node()` from 'onnx-ire/node'); it is never detected. */
export interface Runtime {
  /** Provider and version, for display. */
  readonly description: string
  /** Provider for which `compileGraph` lowers a graph. */
  readonly provider: Provider
  /** Whether the device cannot compute in float16; `compileGraph` then computes in float32. Default false. */
  readonly lacksFloat16?: boolean
  /**
   * Whether `compile` reads external data from files, so that large weights need not be in the model. Default false.
   */
  readonly readsFiles?: boolean
  /**
   * Whether `compile` takes large weights beside the model, as external data in memory: onnxruntime then decodes a
   * small message and copies each weight once. Default false.
   */
  readonly readsBytes?: boolean
  /** Memory for tensors between runs; absent if host arrays are as close to the provider. */
  readonly device?: Device
  /** Threads that update parameters together with the calling thread; absent if there are none. */
  readonly helpers?: Helpers
  /**
   * Compiles serialized ONNX.
   * @throws OnnxIreError `runtime` with onnxruntime's own message if it rejects the model
   */
  compile(model: Uint8Array, hints?: CompileHints): Promise<Program>
  /**
   * Creates a zeroed array of `length` elements in memory that this runtime reads fastest, for tensors that are fed
   * repeatedly, such as parameters that the optimizer updates between runs. @throws OnnxIreError `invalid-data` for
   * strings
   */
  allocate(dtype: DType, length: number): TypedArray
  /**
   * Frees every program and stops workers after the calls made before. New calls are rejected immediately. The runtimes
   * of this library are also disposed at the end of a block: `await using runtime = node()`.
   */
  dispose(): Promise<void>
}

/** Throws `invalid-option` for an option 'runtime' that is not a runtime. */
export function checkRuntime(owner: string, runtime: unknown): void {
  if (typeof (runtime as Runtime | undefined)?.compile !== 'function')
    throw invalidOption(
      owner,
      'runtime',
      runtime,
      "a runtime: node() of 'onnx-ire/node', or await wasm() of 'onnx-ire/web'",
    )
}

/** Threads that share work on shared memory with the calling thread. They start when they are first needed. */
export interface Helpers {
  /** Sends plain data to every helper, before the work of later calls of `run`. */
  send(message: unknown): void
  /**
   * Executes the pieces 0 to `pieces - 1` of some work, each once: in the calling thread by `execute`, or in a helper,
   * in the way that `message` describes. Returns when all are executed.
   * @throws OnnxIreError `runtime` if a helper fails; pieces may have been executed then
   */
  run(message: unknown, pieces: number, execute: (piece: number) => void): void
}

/**
 * Creates a zeroed array of `length` elements; 4-bit types pack two to a byte. @throws OnnxIreError `invalid-data` for
 * strings
 */
export function allocate(dtype: DType, length: number, memory: 'own' | 'shared' = 'own'): TypedArray {
  const { array, bits } = dtypes[dtype]
  if (array === null) throw new OnnxIreError('invalid-data', 'string tensors have no typed array')
  const count = bits === 4 ? Math.ceil(length / 2) : length
  if (memory === 'own') return new array(count)
  return new array(new SharedArrayBuffer((count * Math.max(bits, 8)) / 8), 0, count)
}

/**
 * Creates the fallback for a runtime that failed to start with the code 'runtime'; its description contains the reason.
 * Without a fallback, and for other errors, throws `failure`.
 */
export async function withFallback(
  failure: unknown,
  fallback: (() => Runtime | Promise<Runtime>) | null | undefined,
): Promise<Runtime & AsyncDisposable> {
  if (!fallback || !(failure instanceof OnnxIreError) || failure.code !== 'runtime') throw failure
  const runtime = await fallback()
  return {
    description: `${runtime.description}, because ${failure.message}`,
    provider: runtime.provider,
    ...(runtime.lacksFloat16 ? { lacksFloat16: true } : {}),
    ...(runtime.readsFiles ? { readsFiles: true } : {}),
    ...(runtime.readsBytes ? { readsBytes: true } : {}),
    ...(runtime.device ? { device: runtime.device } : {}),
    ...(runtime.helpers ? { helpers: runtime.helpers } : {}),
    compile: (model, hints) => runtime.compile(model, hints),
    allocate: (dtype, length) => runtime.allocate(dtype, length),
    dispose: () => runtime.dispose(),
    [Symbol.asyncDispose]: () => runtime.dispose(),
  }
}

/** Creates the 'runtime' error for a call on something that was disposed or released. */
export const disposedError = (what: string, how: 'disposed' | 'released'): OnnxIreError =>
  new OnnxIreError('runtime', `this ${what} was ${how}`)
