import type { OnnxIreError } from '../../util/errors.js'

/** The WebGPU device of a runtime. */
export interface WebGpuContext {
  readonly gpu: GPUDevice
  /** Resolves with the error when the device is lost. */
  readonly lost: Promise<OnnxIreError>
  /** Runs tasks one at a time, in the order of the calls, together with the tasks of the runtime. */
  run<T>(task: () => Promise<T>): Promise<T>
}
