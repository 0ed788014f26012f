import { FLOAT32_MAX } from '../../optim/expr/onnx.js'
import { requireFinite } from '../../optim/gradient-norm.js'
import type { Device, DeviceTensor, DeviceTensors } from '../../runtime/device.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Bundle } from './layout.js'

/** The sums of squares of gradients, still on the device, and what names the tensor when they are not finite. */
export class Measured {
  readonly #device: Device
  readonly #place: string
  readonly #what: string
  readonly #bundles: readonly Bundle[]
  readonly #ascent: Measured | null
  /** `sums`, and of bundles of several tensors their gradients, `flat/<bundle>`. */
  readonly #made: DeviceTensors

  /**
   * @param place where we are, for messages: 'step 12'
   * @param what what the gradients are
   * @param made of these outputs of a program, `sums` and `flat/...` are this object's from now on
   * @param ascent what was measured before SAM's ascent, whose sum stands behind the others: this object's too
   */
  constructor(
    device: Device,
    place: string,
    what: string,
    bundles: readonly Bundle[],
    made: DeviceTensors,
    ascent: Measured | null = null,
  ) {
    this.#device = device
    this.#place = place
    this.#what = what
    this.#bundles = bundles
    this.#ascent = ascent
    this.#made = Object.fromEntries(
      Object.entries(made).filter(([name]) => name === 'sums' || name.startsWith('flat/')),
    )
  }

  /** The norm of all gradients together. Throws `not-finite` naming the tensor. */
  async norm(): Promise<number> {
    const all = await this.#read('sums')
    const sums = all.subarray(0, this.#bundles.length)
    if (all.length > sums.length && !(all.at(-1)! <= FLOAT32_MAX)) await this.#ascent!.norm()
    const total = sums.reduce((sum, x) => sum + x, 0)
    if (total <= FLOAT32_MAX) return Math.sqrt(total)
    const index = sums.findIndex((x) => !(x <= FLOAT32_MAX))
    const { id, parts } = this.#bundles[Math.max(0, index)]!
    if (parts.length > 1 && index >= 0) {
      const flat = await this.#read(`flat/${id}`)
      for (const { name, from, length } of parts)
        requireFinite(flat.subarray(from, from + length), name, this.#place, this.#what)
    }
    const among = index < 0 ? 'all tensors together' : parts.map(({ name }) => `'${name}'`).join(', ')
    throw new OnnxIreError(
      'not-finite',
      `${this.#place}: the ${this.#what} of ${among} has NaN, infinite elements, or some whose squares overflow float32; ` +
        'lower the learning rate, clip the gradient, or look for bad values in the data; the parameters are unchanged',
    )
  }

  release(): void {
    for (const tensor of Object.values(this.#made)) tensor.release()
    this.#ascent?.release()
  }

  async #read(name: string): Promise<Float32Array> {
    const tensor: DeviceTensor = this.#made[name]!
    return (await this.#device.download(tensor)).data as Float32Array
  }
}
