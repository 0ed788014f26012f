import type { DeviceTensors } from '../runtime/device.js'
import type { Runtime } from '../runtime/runtime.js'
import type { BackendSpec, TensorMap, TrainingBackend, TrainingDevice } from './backend.js'
import { HostBackend } from './host.js'
import { OnnxBackend } from './onnx/onnx-backend.js'

/**
 * Creates the training backend of a runtime: the device's own backend if it has one, ONNX graphs on any other device,
 * host arrays if the runtime has no device.
 * @throws OnnxIreError `invalid-option` if the runtime's device cannot train these parameters
 */
export function createBackend(runtime: Runtime, spec: BackendSpec): TrainingBackend<TensorMap> {
  const device = runtime.device as TrainingDevice | undefined
  if (!device) return new HostBackend(runtime, spec)
  const backend: TrainingBackend<DeviceTensors> = device.createBackend
    ? device.createBackend(runtime, spec)
    : new OnnxBackend(runtime, device, spec)
  return backend as TrainingBackend<TensorMap>
}
