import type { Tensor } from '../ir/tensor.js'
import type { InputInfo } from '../runtime/feeds.js'

/** A model an engine holds; `id` names it in later calls. */
export interface Session {
  readonly id: number
  readonly inputs: readonly InputInfo[]
  readonly outputNames: readonly string[]
}

/**
 * onnxruntime in some thread. Calls are carried out one at a time in the order they were made, so `close` and `release`
 * wait for the runs before them. Tensors are positional: inputs as `Session.inputs`, outputs as `Session.outputNames`.
 */
export interface Engine {
  compile(model: Uint8Array): Promise<Session>
  run(id: number, inputs: readonly Tensor[]): Promise<Tensor[]>
  release(id: number): Promise<void>
  /** Frees every session; the engine is of no use afterwards. */
  close(): Promise<void>
}
