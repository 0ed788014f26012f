import { modelOf } from '../onnx/export/export-graph.js'
import { importGraph } from '../onnx/import/import-graph.js'
import type { Model } from '../onnx/model.js'
import { lower } from './lower.js'
import { webgpu } from './webgpu/target.js'

/**
 * Rewrites a model in operators that onnxruntime's WebGPU provider computes correctly, for a page that runs it by
 * onnxruntime-web without this library: several kernels of the provider return wrong values without an error
 * (docs/onnxruntime-issues.md). Inputs and outputs keep names and shapes; those of int64 may become int32. On other
 * providers the result computes the same.
 *
 * @throws OnnxIreError `unsupported-operator` if the model contains an operator that this library does not support
 *
 * @example
 * ```ts
 * await writeModel('tuned-webgpu.onnx', lowerForWebgpu(tuned))
 * ```
 */
export function lowerForWebgpu(model: Model): Model {
  const { name, inputs, outputs, metadata = {} } = importGraph(model)
  return modelOf({ ...lower({ name, inputs, outputs }, webgpu), metadata })
}
