import type { OnnxIreError } from '../../util/errors.js'

/** The WebGPU device of a runtime. */
export interface WebGpuContext {
  readonly gpu: GPUDevice
  /** Resolves with the error of all later calls when the device is lost or destroyed. */
  readonly ended: Promise<OnnxIreError>
  /** Throws `device-lost` if the device is lost, `runtime` if the runtime was disposed. */
  check(): void
  /** Runs tasks one at a time, in the order of the calls, together with the tasks of the runtime. */
  run<T>(task: () => Promise<T>): Promise<T>
}
