import { sizeOf, tensor } from '../../ir/tensor.js'
import type { FlatMask, MaskNumbers } from '../../optim/ire/mask.js'
import type { Device, DeviceTensor, DeviceTensors } from '../../runtime/device.js'
import type { ResidenceSpec } from '../backend.js'
import { joined, type Named, partName } from './flat.js'
import type { Bundle } from './layout.js'
import type { Programs } from './programs.js'

/** A mask as updates on a device are fed it. It never changes. */
export interface BundleMask {
  readonly numbers: MaskNumbers
  /** n of a bundle; it stays the mask's. */
  n(bundle: Bundle): Promise<DeviceTensor>
  /** The same mask on the host: always the same object. */
  stored(): Promise<FlatMask>
  release(): void
}

/** A mask that was made on the host; what a bundle needs of it goes to the device when it is asked for. */
export class HostMask implements BundleMask {
  readonly numbers: FlatMask
  readonly #device: Device
  readonly #placed = new Map<number, DeviceTensor>()

  constructor(device: Device, mask: FlatMask) {
    this.#device = device
    this.numbers = mask
  }

  async n({ id, dims, length, parts }: Bundle): Promise<DeviceTensor> {
    const known = this.#placed.get(id)
    if (known) return known
    const n = new Float32Array(length)
    for (const { name, from } of parts) n.set(this.numbers.flat[name]!, from)
    const placed = await this.#device.upload(tensor('float32', dims, n))
    this.#placed.set(id, placed)
    return placed
  }

  async stored(): Promise<FlatMask> {
    return this.numbers
  }

  release(): void {
    for (const placed of this.#placed.values()) placed.release()
    this.#placed.clear()
  }
}

/** What a refresh on the device made. */
export interface Made {
  readonly numbers: MaskNumbers
  /** n by parameter, of those that were ranked and are not empty; the mask's from now on. */
  readonly n: Record<string, DeviceTensor>
  /** F of the same, where it is smoothed; the mask's too. */
  readonly F: DeviceTensors | null
  /** F of other parameters, that were ranked before: what is not here is 0. */
  readonly earlier: Readonly<Record<string, Float32Array>>
}

/** A mask that was made on the device, and comes to the host when it is asked for. */
export class DeviceMask implements BundleMask {
  readonly numbers: MaskNumbers
  readonly F: DeviceTensors
  readonly earlier: Readonly<Record<string, Float32Array>>
  readonly #device: Device
  readonly #spec: ResidenceSpec
  readonly #programs: Programs
  readonly #made: Made
  readonly #joined = new Map<number, DeviceTensor>()
  #stored: Promise<FlatMask> | undefined

  constructor(device: Device, spec: ResidenceSpec, programs: Programs, made: Made) {
    this.#device = device
    this.#spec = spec
    this.#programs = programs
    this.#made = made
    this.numbers = made.numbers
    this.F = made.F ?? {}
    this.earlier = made.earlier
  }

  async n(bundle: Bundle): Promise<DeviceTensor> {
    const { id, parts } = bundle
    for (const { name, dims } of parts) this.#made.n[name] ??= await this.#zeros(dims)
    if (parts.length === 1) return this.#made.n[parts[0]!.name]!
    const known = this.#joined.get(id)
    if (known) return known
    const program = await this.#programs.get(`n/${id}`, () => {
      const inputs: Named = new Map()
      const n = joined(inputs, 'n', bundle)
      return { name: 'mask', inputs, outputs: new Map([[`joined/${id}`, n]]) }
    })
    const feeds = parts.map(({ name }, i) => [partName('n', id, i), this.#made.n[name]!])
    const { kept } = await program.run(Object.fromEntries(feeds))
    const made = kept[`joined/${id}`]!
    this.#joined.set(id, made)
    return made
  }

  stored(): Promise<FlatMask> {
    this.#stored ??= this.#fetched().catch((error) => {
      this.#stored = undefined
      throw error
    })
    return this.#stored
  }

  release(): void {
    for (const made of [...Object.values(this.#made.n), ...Object.values(this.F), ...this.#joined.values()])
      made.release()
    this.#joined.clear()
  }

  async #fetched(): Promise<FlatMask> {
    const flat: Record<string, Uint8Array> = {}
    const curvature: Record<string, Float32Array> = {}
    for (const [name, dims] of Object.entries(this.#spec.parameters)) {
      const n = this.#made.n[name]
      flat[name] = n ? Uint8Array.from(await this.#elements(n)) : new Uint8Array(sizeOf(dims))
      const F = this.F[name]
      if (this.#made.F)
        curvature[name] = F ? await this.#elements(F) : (this.earlier[name] ?? new Float32Array(sizeOf(dims)))
    }
    return { flat, curvature: this.#made.F ? curvature : null, ...this.numbers }
  }

  async #elements(held: DeviceTensor): Promise<Float32Array> {
    return (await this.#device.download(held)).data as Float32Array
  }

  #zeros(dims: readonly number[]): Promise<DeviceTensor> {
    return this.#device.upload(tensor('float32', dims, new Float32Array(sizeOf(dims))))
  }
}
