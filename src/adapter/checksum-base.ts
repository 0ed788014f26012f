import { checksumTensor } from '../ir/tensor.js'
import { type Model, namedTensors } from '../onnx/model.js'
import { checksum } from '../util/checksum.js'
import { removeAdapter } from './read-adapter.js'
import { findRecord } from './record.js'

/**
 * Computes a checksum of a model's tensors without those of its adapter, by which an adapter names its base
 * (`AdapterConfig.baseChecksum`). The float model and its 4-bit form have different ones.
 *
 * @example
 * ```ts
 * const fits = adapter.config.baseChecksum === checksumBase(model)
 * ```
 */
export function checksumBase(model: Model): string {
  const base = findRecord(model.proto) ? removeAdapter(model) : model
  const tensors = [...namedTensors(base)].sort(([a], [b]) => (a < b ? -1 : 1))
  return checksum(tensors.flatMap(([name, tensor]) => [name, checksumTensor(tensor)]))
}
