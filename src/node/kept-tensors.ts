import type { Tensor as OrtTensor } from 'onnxruntime-node'
import { OnnxIreError } from '../errors.js'
import type { Kept } from './engine.js'

/** Tensors of a device by number. What is asked of a tensor that was freed is refused here: onnxruntime would end the process. */
export class KeptTensors {
  readonly #tensors = new Map<number, OrtTensor>()
  #last = 0

  add(tensor: OrtTensor): Kept {
    const handle = ++this.#last
    this.#tensors.set(handle, tensor)
    return { handle, dtype: tensor.type, dims: [...tensor.dims] }
  }

  get(handle: number): OrtTensor {
    const tensor = this.#tensors.get(handle)
    if (!tensor) throw new OnnxIreError('runtime', 'this device tensor was released')
    return tensor
  }

  free(handle: number): void {
    this.#tensors.get(handle)?.dispose()
    this.#tensors.delete(handle)
  }

  clear(): void {
    for (const handle of [...this.#tensors.keys()]) this.free(handle)
  }
}
