import { OnnxIreError } from '../util/errors.js'

/** What onnxruntime has a use for, where the adapter has it. */
const features: readonly GPUFeatureName[] = ['shader-f16', 'subgroups', 'timestamp-query']

/**
 * A device of our own with all that its adapter can do: onnxruntime's has less, and goes with its last session.
 * @throws 'runtime' saying why there is none
 */
export async function openDevice(powerPreference: GPUPowerPreference | undefined): Promise<GPUDevice> {
  // Declared as if it were always there.
  if (!(navigator.gpu as GPU | undefined))
    throw refusal(
      globalThis.isSecureContext
        ? 'this browser has no navigator.gpu'
        : 'the page comes from neither https nor localhost, and others have no navigator.gpu',
    )
  const adapter = await navigator.gpu.requestAdapter(powerPreference ? { powerPreference } : {})
  if (!adapter) throw refusal('the browser offers no adapter: it knows no usable GPU here, or WebGPU is switched off')
  const requiredLimits: Record<string, number> = {}
  // They are getters of the prototype, which spreading does not see.
  for (const limit in adapter.limits) {
    const value = adapter.limits[limit as keyof GPUSupportedLimits]
    if (typeof value === 'number') requiredLimits[limit] = value
  }
  const requiredFeatures = features.filter((feature) => adapter.features.has(feature))
  return adapter.requestDevice({ requiredLimits, requiredFeatures }).catch((cause) => {
    throw refusal(`the browser refuses a device: ${(cause as Error).message}`, cause)
  })
}

const refusal = (why: string, cause?: unknown) => new OnnxIreError('runtime', `WebGPU cannot start: ${why}`, { cause })
