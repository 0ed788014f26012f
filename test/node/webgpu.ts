import { node } from '../../src/node/runtime/node.js'
import type { NodeOptions } from '../../src/node/runtime/options.js'
import { identityModel } from '../../src/runtime/ort.js'
import type { Runtime } from '../../src/runtime/runtime.js'

/** WebGPU with every call checked. Requires `await needs('webgpu')`. */
export const webgpu = (options: NodeOptions['webgpu'] = {}, rest: NodeOptions = {}): Runtime =>
  node({ ...rest, provider: 'webgpu', webgpu: { validation: 'basic', ...options } })

/**
 * WebGPU whose device lasts until the runtime is disposed: onnxruntime destroys the device, and with it the compiled
 * shaders, whenever its last session is released. One session is never released.
 */
export function lastingWebgpu(options: NodeOptions['webgpu'] = {}): Runtime {
  const runtime = webgpu(options)
  // The test's own call rejects, too, if WebGPU does not start.
  runtime.compile(identityModel('float32')).catch(() => {})
  return runtime
}
