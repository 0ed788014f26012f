import type { Runtime } from '../runtime/runtime.js'
import type { BackendSpec, TensorMap, TrainingBackend, TrainingDevice } from './backend.js'
import { HostBackend } from './host.js'

/**
 * Creates the training backend of a runtime: that of its device, or host arrays if it has none.
 * @throws OnnxIreError `invalid-option` if the runtime's device cannot train these parameters
 */
export function createBackend(runtime: Runtime, spec: BackendSpec): TrainingBackend<TensorMap> {
  const device = runtime.device as Partial<TrainingDevice> | undefined
  const backend = device?.createBackend?.(runtime, spec) ?? new HostBackend(runtime, spec)
  return backend as TrainingBackend<TensorMap>
}
