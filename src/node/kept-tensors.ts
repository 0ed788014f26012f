import type { Tensor as OrtTensor } from 'onnxruntime-node'
import { OnnxIreError } from '../util/errors.js'
import type { Kept } from './engine.js'

/** Tensors of a device by number. What is asked of a tensor that was freed is refused here: onnxruntime would end the process. */
export class KeptTensors {
  readonly #tensors = new Map<number, { readonly tensor: OrtTensor; readonly session: number }>()
  #last = 0

  /** @param session the one that made it, and whose memory it lies in */
  add(tensor: OrtTensor, session: number): Kept {
    const handle = ++this.#last
    this.#tensors.set(handle, { tensor, session })
    return { handle, dtype: tensor.type, dims: [...tensor.dims] }
  }

  get(handle: number): OrtTensor {
    const kept = this.#tensors.get(handle)
    if (!kept) throw new OnnxIreError('runtime', 'this device tensor was released')
    return kept.tensor
  }

  /** The session that made it; undefined where it was freed before. */
  free(handle: number): number | undefined {
    const kept = this.#tensors.get(handle)
    kept?.tensor.dispose()
    this.#tensors.delete(handle)
    return kept?.session
  }

  /** Whether tensors of a session are left. */
  anyOf(session: number): boolean {
    return [...this.#tensors.values()].some((kept) => kept.session === session)
  }

  clear(): void {
    for (const handle of [...this.#tensors.keys()]) this.free(handle)
  }
}
