import { tensor } from '../../ir/tensor.js'
import type { FlatMask } from '../../optim/ire/mask.js'
import type { Device, DeviceTensor } from '../../runtime/device.js'
import type { TensorGroup } from './tensor-groups.js'

/** A mask of the host and its copies in device memory, which are uploaded by group when an update needs them. */
export class DeviceMask {
  readonly mask: FlatMask
  readonly #device: Device
  readonly #uploaded = new Map<number, DeviceTensor>()

  constructor(device: Device, mask: FlatMask) {
    this.#device = device
    this.mask = mask
  }

  /** Returns n of a group. The mask owns the tensor. */
  async upload({ id, dims, length, parts }: TensorGroup): Promise<DeviceTensor> {
    const known = this.#uploaded.get(id)
    if (known) return known
    const n = new Float32Array(length)
    for (const { name, offset } of parts) n.set(this.mask.flat[name]!, offset)
    const uploaded = await this.#device.upload(tensor('float32', dims, n))
    this.#uploaded.set(id, uploaded)
    return uploaded
  }

  release(): void {
    for (const uploaded of this.#uploaded.values()) uploaded.release()
    this.#uploaded.clear()
  }
}
