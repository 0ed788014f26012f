import type { DType } from '../../ir/dtype.js'
import type { Tensor } from '../../ir/tensor.js'
import type { InputInfo } from '../../runtime/feeds.js'

/** A model that an engine has compiled; later calls refer to it by `id`. */
export interface Session {
  readonly id: number
  readonly inputs: readonly InputInfo[]
  readonly outputNames: readonly string[]
}

/** Reference to a tensor in device memory. */
export interface TensorHandle {
  readonly handle: number
  readonly dtype: DType
  readonly dims: readonly number[]
}

/** Input or output of a session. */
export type SessionTensor = Tensor | TensorHandle

/** Options of compiling a model. */
export interface CompileOptions {
  /** Outputs that remain on the device. */
  readonly keepOnDevice?: readonly string[]
  /** Whether nodes that the provider does not support may run on the CPU, even if the engine's options forbid it. */
  readonly allowCpu?: boolean
  /** All operators of the model, if known. */
  readonly operators?: ReadonlySet<string> | undefined
  /** Whether the caller does not use the bytes of the model afterwards. */
  readonly transfer?: boolean
  /** Folder of the model's external data. */
  readonly folder?: string
}

/**
 * onnxruntime in the calling thread or in a worker. Calls are executed one at a time in the order they were made, so
 * `close` and `release` wait for earlier runs. Tensors are positional: inputs as `Session.inputs`, outputs as
 * `Session.outputNames`.
 */
export interface Engine {
  compile(model: Uint8Array, options?: CompileOptions): Promise<Session>
  run(id: number, inputs: readonly SessionTensor[]): Promise<SessionTensor[]>
  release(id: number): Promise<void>
  /** Frees a device tensor. */
  free(handle: number): Promise<void>
  /** Frees every device tensor and every session; the engine cannot be used afterwards. */
  close(): Promise<void>
}
