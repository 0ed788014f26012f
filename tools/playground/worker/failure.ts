import { OnnxIreError } from 'onnx-ire'

/** Messages of out-of-memory errors in WebAssembly, in arrays of the browser and on the GPU. */
const full =
  /out of memory|out-of-memory|memory access out of bounds|allocation failed|failed to allocate|could not allocate|invalid (typed )?array length|array length exceeds|bad_alloc|\bOOM\b|too large for the implementation|createBuffer failed/i

/** Converts an error for the page. */
export function toFailure(error: unknown): { readonly code: string; readonly message: string } {
  const message = error instanceof Error ? error.message : String(error)
  if (full.test(message))
    return {
      code: 'out-of-memory',
      message: `The memory is full: take a smaller batch, smaller images or a smaller model. (${message})`,
    }
  if (!(error instanceof OnnxIreError)) return { code: 'unexpected', message }
  // A new run falls back if WebGPU cannot start; this run had a device and failed to get another one.
  if (error.code === 'device-lost' || message.startsWith('WebGPU cannot start'))
    return {
      code: 'device-lost',
      message: `The GPU was lost, and no new one could be had: train again, or on WebAssembly. (${message})`,
    }
  return { code: error.code, message }
}
