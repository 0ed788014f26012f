import { largestFloat32 } from '../../ir/dtype.js'
import { requireFinite } from '../../optim/gradient-norm.js'
import type { Device, DeviceTensor, DeviceTensors } from '../../runtime/device.js'
import { OnnxIreError } from '../../util/errors.js'
import { downloadFloats } from './device-state.js'
import type { TensorGroup } from './tensor-groups.js'

/**
 * Sums of squares of gradients that a graph left in device memory, and the gradients of groups, to name a tensor that
 * is not finite.
 */
export class GraphGradientNorms {
  readonly #device: Device
  readonly #place: string
  readonly #what: string
  readonly #groups: readonly TensorGroup[]
  readonly #ascent: GraphGradientNorms | null
  readonly #tensors: DeviceTensors

  /**
   * @param place the position in training, for messages: 'step 12'
   * @param what the kind of gradients
   * @param outputs outputs of an update or ascent graph; this object owns `sums`, `applied` and `flat/<group>`
   * @param ascent the norms of SAM's ascent, whose total is the last of the sums; this object owns them
   */
  constructor(
    device: Device,
    place: string,
    what: string,
    groups: readonly TensorGroup[],
    outputs: DeviceTensors,
    ascent: GraphGradientNorms | null = null,
  ) {
    this.#device = device
    this.#place = place
    this.#what = what
    this.#groups = groups
    this.#ascent = ascent
    this.#tensors = Object.fromEntries(
      Object.entries(outputs).filter(([name]) => ['sums', 'applied'].includes(name) || name.startsWith('flat/')),
    )
  }

  /** Downloads the norm of the gradient that is applied. Throws `not-finite` naming the tensor. */
  async download(): Promise<number> {
    const all = await this.#read('sums')
    const sums = all.subarray(0, this.#groups.length)
    if (all.length > sums.length && !(all.at(-1)! <= largestFloat32)) await this.#ascent!.download()
    const total = sums.reduce((sum, x) => sum + x, 0)
    const applied = this.#tensors['applied'] ? (await this.#read('applied'))[0]! : total
    if (total <= largestFloat32 && applied <= largestFloat32) return Math.sqrt(applied)
    const index = sums.findIndex((x) => !(x <= largestFloat32))
    const { id, parts } = this.#groups[Math.max(0, index)]!
    if (parts.length > 1 && index >= 0) {
      const flat = await this.#read(`flat/${id}`)
      for (const { name, offset, length } of parts)
        requireFinite(flat.subarray(offset, offset + length), name, this.#place, this.#what)
    }
    const tensors = index < 0 ? 'all tensors together' : parts.map(({ name }) => `'${name}'`).join(', ')
    throw new OnnxIreError(
      'not-finite',
      `${this.#place}: the ${this.#what} of ${tensors} has NaN, infinite elements, or elements whose squares overflow float32; ` +
        'lower the learning rate, clip the gradient, or look for bad values in the data; the parameters are unchanged',
    )
  }

  release(): void {
    for (const tensor of Object.values(this.#tensors)) tensor.release()
    this.#ascent?.release()
  }

  #read(name: string): Promise<Float32Array> {
    const tensor: DeviceTensor = this.#tensors[name]!
    return downloadFloats(this.#device, tensor)
  }
}
