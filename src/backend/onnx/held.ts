import type { FloatArray } from '../../ir/float-array.js'
import { sizeOf, type Tensor, tensor } from '../../ir/tensor.js'
import { arrayOf, type ParameterArrays } from '../../optim/arrays.js'
import type { Device, DeviceTensor, DeviceTensors } from '../../runtime/device.js'
import { OnnxIreError } from '../../util/errors.js'
import type { ResidenceSpec } from '../backend.js'
import { partName } from './flat.js'
import { type Bundle, bundleOf, regrouped } from './layout.js'

/** A bundle's state on the device. */
interface Arrays {
  /** theta, then the moments. The theta of a bundle of one tensor is the parameter itself. */
  readonly state: readonly DeviceTensor[]
  /** Whether no step has trained it yet. */
  fresh: boolean
}

/** Arrays by moment, then by parameter. */
type Moments = Readonly<Record<string, ParameterArrays>>

/** The state a device holds: every parameter for itself, and theta and moments by bundle. */
export class Held {
  readonly #device: Device
  readonly #spec: ResidenceSpec
  /** The names of a bundle's arrays in programs. */
  readonly #names: readonly string[]
  readonly #arrays = new Map<Bundle, Arrays>()
  readonly #parameters: Record<string, DeviceTensor> = {}
  #ids = 0

  constructor(device: Device, spec: ResidenceSpec) {
    this.#device = device
    this.#spec = spec
    this.#names = ['theta', ...spec.base.moments]
  }

  get parameters(): DeviceTensors {
    return this.#parameters
  }

  /** Tensors without elements are in none. */
  get bundles(): readonly Bundle[] {
    return [...this.#arrays.keys()]
  }

  /** Uploads everything. Throws `invalid-data` for arrays that are missing, misshapen or not float32. */
  async load(parameters: ParameterArrays, moments: Moments): Promise<void> {
    const given = Object.entries(this.#spec.parameters).map(([name, dims]) => {
      const arrays = this.#names.map((what) => {
        const array = arrayOf(what === 'theta' ? parameters : moments[what]!, name, sizeOf(dims), what)
        if (array instanceof Float32Array) return array
        throw new OnnxIreError('invalid-data', `the ${what} of '${name}' must be a Float32Array to be kept on a device`)
      })
      return { name, dims, arrays }
    })
    this.release()
    for (const { name, dims, arrays } of given) {
      this.#parameters[name] = await this.#upload(dims, arrays[0]!)
      if (sizeOf(dims) > 0) await this.#add([[name, dims]], arrays, true)
    }
  }

  async store(parameters: ParameterArrays, moments: Moments): Promise<void> {
    for (const bundle of this.bundles) {
      const state = await this.#downloaded(bundle)
      for (const { name, from, length } of bundle.parts)
        state.forEach((flat, i) => {
          const target: FloatArray = (i === 0 ? parameters : moments[this.#names[i]!]!)[name]!
          target.set(flat.subarray(from, from + length))
        })
    }
  }

  /**
   * Regroups the tensors so that those of one bundle have one key; those without one share none with others. Small tensors
   * that no step has trained yet are joined by it.
   */
  async settle(keyOf: (name: string) => string | undefined): Promise<void> {
    const groups = regrouped(this.bundles, keyOf, (bundle) => this.#arrays.get(bundle)!.fresh)
    if (groups) await this.#regroup(groups)
  }

  /** What a program is fed of a bundle's state: `theta/<id>` and `<moment>/<id>`. */
  feeds(bundle: Bundle): Record<string, DeviceTensor> {
    const { state } = this.#arrays.get(bundle)!
    return Object.fromEntries(this.#names.map((name, i) => [`${name}/${bundle.id}`, state[i]!]))
  }

  /** Takes over what a step made, `next/theta/<id>`, `next/<moment>/<id>` and `parameter/<id>/<part>`. */
  advance(bundle: Bundle, made: DeviceTensors): void {
    const before = this.#arrays.get(bundle)!
    const state = this.#names.map((name) => made[`next/${name}/${bundle.id}`]!)
    this.#arrays.set(bundle, { state, fresh: false })
    for (const tensor of before.state) tensor.release()
    bundle.parts.forEach(({ name }, i) => {
      this.#parameters[name]!.release()
      this.#parameters[name] = bundle.parts.length === 1 ? state[0]! : made[partName('parameter', bundle.id, i)]!
    })
  }

  release(): void {
    for (const bundle of this.bundles) this.#drop(bundle)
    for (const name of Object.keys(this.#parameters)) {
      this.#parameters[name]!.release()
      delete this.#parameters[name]
    }
  }

  async #regroup(groups: readonly (readonly string[])[]): Promise<void> {
    const old = new Map(this.bundles.flatMap((bundle) => bundle.parts.map((part) => [part.name, { bundle, part }])))
    const downloads = new Map<Bundle, readonly Float32Array[]>()
    for (const names of groups) {
      const places = names.map((name) => old.get(name)!)
      if (places[0]!.bundle.parts.length === names.length && new Set(places.map(({ bundle }) => bundle)).size === 1)
        continue
      for (const { bundle } of places) if (!downloads.has(bundle)) downloads.set(bundle, await this.#downloaded(bundle))
      const state = this.#names.map((_, i) =>
        concatenated(
          places.map(({ bundle, part: { from, length } }) => downloads.get(bundle)![i]!.subarray(from, from + length)),
        ),
      )
      const fresh = places.every(({ bundle }) => this.#arrays.get(bundle)!.fresh)
      await this.#add(
        places.map(({ part: { name, dims } }) => [name, dims] as const),
        state,
        fresh,
      )
    }
    for (const bundle of downloads.keys()) this.#drop(bundle)
  }

  async #add(
    tensors: readonly (readonly [string, readonly number[]])[],
    state: readonly Float32Array[],
    fresh: boolean,
  ): Promise<void> {
    const bundle = bundleOf(++this.#ids, tensors)
    const [only] = bundle.parts
    const uploaded = bundle.parts.length === 1 ? [this.#parameters[only!.name]!] : []
    for (const flat of state.slice(uploaded.length)) uploaded.push(await this.#upload(bundle.dims, flat))
    this.#arrays.set(bundle, { state: uploaded, fresh })
  }

  /** Frees a bundle, but not its parameters. */
  #drop(bundle: Bundle): void {
    const { state } = this.#arrays.get(bundle)!
    for (const tensor of state) if (tensor !== this.#parameters[bundle.parts[0]!.name]) tensor.release()
    this.#arrays.delete(bundle)
  }

  async #downloaded(bundle: Bundle): Promise<readonly Float32Array[]> {
    const arrays: Float32Array[] = []
    for (const held of this.#arrays.get(bundle)!.state) arrays.push(elementsOf(await this.#device.download(held)))
    return arrays
  }

  #upload(dims: readonly number[], data: FloatArray): Promise<DeviceTensor> {
    return this.#device.upload(tensor('float32', dims, data))
  }
}

const elementsOf = ({ data }: Tensor): Float32Array => data as Float32Array

function concatenated(arrays: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0))
  let from = 0
  for (const array of arrays) {
    whole.set(array, from)
    from += array.length
  }
  return whole
}
