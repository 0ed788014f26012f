import { OnnxIreError } from '../../util/errors.js'

const notStarted = /WebGpuContext::Initialize|Failed to get a WebGPU/
const lost = /device (?:is|was|has been) lost|DeviceLost|device lost/i

/**
 * Error for a message of onnxruntime's WebGPU provider about a missing or lost device; undefined for other messages.
 */
export function webgpuFailure(cause: Error): OnnxIreError | undefined {
  const { message } = cause
  if (notStarted.test(message)) {
    const reason = message.replace(/^.* was false\. /s, '').trim()
    const hint =
      'it needs a GPU (or a software GPU) and its driver: Vulkan on Linux, Direct3D 12 on Windows, Metal on macOS'
    return new OnnxIreError('runtime', `WebGPU does not start: ${reason.replace(/\.$/, '')}; ${hint}`, { cause })
  }
  if (lost.test(message)) return new OnnxIreError('device-lost', `the WebGPU device is lost: ${message}`, { cause })
  return undefined
}
