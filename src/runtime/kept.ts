import type { DType } from '../ir/dtype.js'
import { decode } from '../onnx/proto/decode.js'
import { OnnxIreError } from '../util/errors.js'

/** What onnxruntime's JavaScript takes for the type of a GPU's buffer. */
const ofBuffers: ReadonlySet<DType> = new Set(['float32', 'float16', 'int32', 'int64', 'uint32', 'uint8', 'bool'])

/** Throws `invalid-data` for tensors that onnxruntime's JavaScript cannot keep on a WebGPU device. */
export function checkKeepable(dtype: DType): void {
  if (!ofBuffers.has(dtype)) throw new OnnxIreError('invalid-data', `the WebGPU device keeps no ${dtype} tensors`)
}

/**
 * The names of a model's outputs: onnxruntime is to be told which stay on a device before it tells of them. None where
 * these bytes are no model, which it says itself.
 */
export function outputNamesOf(model: Uint8Array): string[] {
  try {
    return decode('ModelProto', model).graph?.output.map(({ name }) => name ?? '') ?? []
  } catch (error) {
    if (error instanceof OnnxIreError) return []
    throw error
  }
}
