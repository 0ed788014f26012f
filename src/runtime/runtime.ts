import type { DType, TypedArray } from '../ir/dtype.js'
import type { Tensors } from '../ir/tensor.js'
import type { Device } from './device.js'
import type { Provider } from './provider.js'

/** A compiled ONNX model, ready to run. Calls may overlap; a runtime queues them where its provider cannot. */
export interface Program {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /**
   * Runs the model once. Every graph input must be fed and no other name may be (onnxruntime ignores unknown names
   * silently; here they are an `invalid-data` error). The arrays of `feeds` are only read, when the run's turn comes:
   * leave them alone until the promise settles. Outputs never share memory with them.
   *
   * Throws `invalid-data` naming the input, and `runtime` with onnxruntime's own message; the program stays usable.
   */
  run(feeds: Tensors): Promise<Tensors>
  /** Frees the session once the runs already asked for are over. Running afterwards is an error; releasing twice is not. */
  release(): Promise<void>
}

/** Where models run. Chosen by the user (`node()` from 'onnx-ire/node'), never detected. */
export interface Runtime {
  /** What runs, for people: provider and version. */
  readonly description: string
  /** What computes: it decides into which operators `compileGraph` writes a graph. */
  readonly provider: Provider
  /** Where it can keep tensors between runs; absent where the host's arrays are as near. */
  readonly device?: Device
  /** Compiles serialized ONNX. Throws `runtime` with onnxruntime's own message when the model is refused. */
  compile(model: Uint8Array): Promise<Program>
  /**
   * A zeroed array of `length` elements that lives where this runtime reads it fastest, for what is fed again and again
   * (parameters, updated by the optimizer between runs). Throws `invalid-data` for strings.
   */
  allocate(dtype: DType, length: number): TypedArray
  /** Frees every program and stops workers, once the calls already made are over. New calls are refused at once. */
  dispose(): Promise<void>
}
