import { OnnxIreError } from '../../util/errors.js'

/** Features that onnxruntime uses if the adapter has them. */
const features: readonly GPUFeatureName[] = ['shader-f16', 'subgroups', 'timestamp-query']

/**
 * Requests a GPU device with all limits of its adapter: onnxruntime's own device has fewer and ends with its last
 * session.
 * @throws 'runtime' with the reason
 */
export async function requestDevice(powerPreference: GPUPowerPreference | undefined): Promise<GPUDevice> {
  // TypeScript declares it as always present.
  if (!(navigator.gpu as GPU | undefined))
    throw startFailure(
      globalThis.isSecureContext
        ? 'this browser has no navigator.gpu'
        : 'the page is neither from https nor from localhost, so it has no navigator.gpu',
    )
  const adapter = await navigator.gpu.requestAdapter(powerPreference ? { powerPreference } : {})
  if (!adapter) throw startFailure('the browser offers no adapter: there is no usable GPU, or WebGPU is disabled')
  const requiredLimits: Record<string, number> = {}
  // Limits are getters of the prototype, which spreading ignores.
  for (const limit in adapter.limits) {
    const value = adapter.limits[limit as keyof GPUSupportedLimits]
    if (typeof value === 'number') requiredLimits[limit] = value
  }
  const requiredFeatures = features.filter((feature) => adapter.features.has(feature))
  return adapter.requestDevice({ requiredLimits, requiredFeatures }).catch((cause) => {
    throw startFailure(`the browser rejects the request for a device: ${(cause as Error).message}`, cause)
  })
}

const startFailure = (why: string, cause?: unknown) =>
  new OnnxIreError('runtime', `WebGPU cannot start: ${why}`, { cause })
