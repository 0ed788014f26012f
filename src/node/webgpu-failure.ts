import { OnnxIreError } from '../util/errors.js'

const notStarted = /WebGpuContext::Initialize|Failed to get a WebGPU/
const lost = /device (?:is|was|has been) lost|DeviceLost|device lost/i

/** What onnxruntime's WebGPU provider says when it has no device, or has one no more; undefined for anything else. */
export function webgpuFailure(cause: Error): OnnxIreError | undefined {
  const { message } = cause
  if (notStarted.test(message)) {
    const reason = message.replace(/^.* was false\. /s, '').trim()
    const hint =
      'it needs a graphics card, or one made of software, and its driver: Vulkan on Linux, Direct3D 12 on Windows, Metal on macOS'
    return new OnnxIreError('runtime', `WebGPU does not start: ${reason.replace(/\.$/, '')}; ${hint}`, { cause })
  }
  if (lost.test(message)) return new OnnxIreError('device-lost', `the WebGPU device is gone: ${message}`, { cause })
  return undefined
}
