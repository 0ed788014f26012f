import type { DType } from '../ir/dtype.js'
import type { Tensor } from '../ir/tensor.js'
import type { InputInfo } from '../runtime/feeds.js'

/** A model an engine holds; `id` names it in later calls. */
export interface Session {
  readonly id: number
  readonly inputs: readonly InputInfo[]
  readonly outputNames: readonly string[]
}

/** A tensor that the engine keeps on its device, by a number. */
export interface Kept {
  readonly handle: number
  readonly dtype: DType
  readonly dims: readonly number[]
}

/** What a program is fed and gives. */
export type Operand = Tensor | Kept

/** How a model is compiled. */
export interface Compilation {
  /** Outputs that stay on the device. */
  readonly keeps?: readonly string[]
  /** Whether nodes that the provider does not run may run on the CPU, also where the engine's options forbid it. */
  readonly anywhere?: boolean
}

/**
 * onnxruntime in some thread. Calls are carried out one at a time in the order they were made, so `close` and `release`
 * wait for the runs before them. Tensors are positional: inputs as `Session.inputs`, outputs as `Session.outputNames`.
 */
export interface Engine {
  compile(model: Uint8Array, how?: Compilation): Promise<Session>
  run(id: number, inputs: readonly Operand[]): Promise<Operand[]>
  release(id: number): Promise<void>
  /** Frees a kept tensor. */
  free(handle: number): Promise<void>
  /** Frees every kept tensor and every session; the engine is of no use afterwards. */
  close(): Promise<void>
}
