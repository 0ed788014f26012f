import type { Tensor as OrtTensor } from 'onnxruntime-node'
import { OnnxIreError } from '../../util/errors.js'
import type { TensorHandle } from './engine.js'

/**
 * Table of device tensors by handle. Rejects the use of a freed tensor, which would end the process inside onnxruntime.
 */
export class TensorTable {
  readonly #tensors = new Map<number, { readonly tensor: OrtTensor; readonly session: number }>()
  #last = 0

  /** @param session session that created the tensor and owns its memory */
  add(tensor: OrtTensor, session: number): TensorHandle {
    const handle = ++this.#last
    this.#tensors.set(handle, { tensor, session })
    return { handle, dtype: tensor.type, dims: [...tensor.dims] }
  }

  get(handle: number): OrtTensor {
    const entry = this.#tensors.get(handle)
    if (!entry) throw new OnnxIreError('runtime', 'this device tensor was released')
    return entry.tensor
  }

  /** Frees a tensor and returns its session; undefined if it was freed before. */
  free(handle: number): number | undefined {
    const entry = this.#tensors.get(handle)
    entry?.tensor.dispose()
    this.#tensors.delete(handle)
    return entry?.session
  }

  /** Whether a session has tensors in the table. */
  hasTensorsOf(session: number): boolean {
    return [...this.#tensors.values()].some((entry) => entry.session === session)
  }

  clear(): void {
    for (const handle of [...this.#tensors.keys()]) this.free(handle)
  }
}
