import { tensorFrom } from '../../ir/leaf.js'
import { sizeOf, type Tensor, tensor } from '../../ir/tensor.js'
import { arrayOf, type MomentArray, missingError, type ParameterArrays } from '../../optim/arrays.js'
import { type MomentType, momentTypeOf, type Rules } from '../../optim/base-optimizer.js'
import type { Device, DeviceTensor, DeviceTensors } from '../../runtime/device.js'
import { OnnxIreError } from '../../util/errors.js'
import { emptyRecord, getOwn } from '../../util/record.js'
import { partName } from './step-graphs.js'
import { createGroup, regroup, type TensorGroup } from './tensor-groups.js'

/** Names and dims of the parameters. */
export type ParameterDims = Readonly<Record<string, readonly number[]>>

/** State of a group on the device. */
interface GroupState {
  /** theta, then the moments. The theta of a group of one tensor is the parameter itself. */
  readonly tensors: readonly DeviceTensor[]
  /** Whether no step has updated the group yet. */
  readonly fresh: boolean
}

/** Arrays by moment, then by parameter. */
type Moments = Readonly<Record<string, Readonly<Record<string, MomentArray>>>>

/** Parameters and moments in device memory: every parameter on its own, theta and moments by group. */
export class DeviceState {
  readonly #device: Device
  readonly #dims: ParameterDims
  readonly #rules: Rules
  readonly #samMoment: string | null
  /** Positions of the parameters in their order. */
  readonly #positions: ReadonlyMap<string, number>
  readonly #groups = new Map<TensorGroup, GroupState>()
  readonly #parameters: Record<string, DeviceTensor> = emptyRecord()
  #lastId = 0

  /** @param samMoment the array that SAM stores per parameter */
  constructor(device: Device, dims: ParameterDims, rules: Rules, samMoment: string | null = null) {
    this.#device = device
    this.#dims = dims
    this.#rules = rules
    this.#samMoment = samMoment
    this.#positions = new Map(Object.keys(dims).map((name, i) => [name, i]))
  }

  get parameters(): DeviceTensors {
    return this.#parameters
  }

  /** The groups of all tensors that have elements, in the order of their first tensors. */
  get groups(): readonly TensorGroup[] {
    const positionOf = ({ parts }: TensorGroup) => this.#positions.get(parts[0]!.name)!
    return [...this.#groups.keys()].sort((a, b) => positionOf(a) - positionOf(b))
  }

  /** Uploads parameters and moments. Throws `invalid-data` for arrays that are missing, misshapen or not float32. */
  async upload(parameters: ParameterArrays, moments: Moments): Promise<void> {
    const given = Object.entries(this.#dims).map(([name, dims]) => {
      const arrays = this.#arraysOf(name).map((what) => {
        const type = this.#typeOf(name, what, dims)
        const given = what === 'theta' ? parameters : moments[what]!
        if (type.dtype === 'uint8') return getOwn(given as Readonly<Record<string, MomentArray>>, name) as Uint8Array
        const array = arrayOf(given as ParameterArrays, name, sizeOf(type.dims), what)
        if (array instanceof Float32Array) return array
        throw new OnnxIreError(
          'invalid-data',
          `the ${what} of '${name}' must be a Float32Array to be stored on a device`,
        )
      })
      return { name, dims, arrays }
    })
    this.release()
    for (const { name, dims, arrays } of given) {
      this.#parameters[name] = await this.#uploadArray({ dtype: 'float32', dims }, arrays[0]!)
      if (sizeOf(dims) > 0) await this.#addGroup([[name, dims]], arrays, true)
    }
  }

  /** Writes parameters and moments to host arrays. */
  async download(parameters: ParameterArrays, moments: Moments): Promise<void> {
    for (const group of this.groups) {
      const arrays = await this.#downloadGroup(group)
      const names = this.#namesOf(group)
      for (const { name, offset, length } of group.parts)
        arrays.forEach((flat, i) => {
          const target: MomentArray = (i === 0 ? parameters : moments[names[i]!]!)[name]!
          // A moment of another shape belongs to a group of one tensor.
          target.set(group.parts.length === 1 ? flat : flat.subarray(offset, offset + length))
        })
    }
  }

  /** Regroups the tensors so that all tensors of a group have the same key; see `regroup`. */
  async regroup(keyOf: (name: string) => string | undefined): Promise<void> {
    const groups = regroup(this.groups, keyOf, (group) => this.#groups.get(group)!.fresh)
    if (groups) await this.#rebuild(groups)
  }

  /** The feeds of a group's state: `theta/<id>` and `<moment>/<id>`. */
  feeds(group: TensorGroup): Record<string, DeviceTensor> {
    const { tensors } = this.#groups.get(group)!
    return Object.fromEntries(this.#namesOf(group).map((name, i) => [`${name}/${group.id}`, tensors[i]!]))
  }

  /**
   * Replaces a group's state by the results of an update: `next/theta/<id>`, `next/<moment>/<id>`,
   * `parameter/<id>/<part>`. A moment without a result is kept.
   */
  replace(group: TensorGroup, results: DeviceTensors): void {
    const before = this.#groups.get(group)!
    const tensors = this.#namesOf(group).map(
      (name, i) => getOwn(results, `next/${name}/${group.id}`) ?? before.tensors[i]!,
    )
    this.#groups.set(group, { tensors, fresh: false })
    for (const tensor of before.tensors) if (!tensors.includes(tensor)) tensor.release()
    group.parts.forEach(({ name }, i) => {
      this.#parameters[name]!.release()
      this.#parameters[name] = group.parts.length === 1 ? tensors[0]! : results[partName('parameter', group.id, i)]!
    })
  }

  release(): void {
    for (const group of this.groups) this.#releaseGroup(group)
    for (const name of Object.keys(this.#parameters)) {
      this.#parameters[name]!.release()
      delete this.#parameters[name]
    }
  }

  /** The names of a parameter's arrays in programs: theta and its moments. */
  #arraysOf(parameter: string): readonly string[] {
    return ['theta', ...this.#rules(parameter).moments, ...(this.#samMoment ? [this.#samMoment] : [])]
  }

  #typeOf(parameter: string, what: string, dims: readonly number[]): MomentType {
    return what === 'theta' ? { dtype: 'float32', dims } : momentTypeOf(this.#rules(parameter), what, dims)
  }

  #namesOf({ parts }: TensorGroup): readonly string[] {
    return this.#arraysOf(parts[0]!.name)
  }

  async #rebuild(groups: readonly (readonly string[])[]): Promise<void> {
    const old = new Map(this.groups.flatMap((group) => group.parts.map((part) => [part.name, { group, part }])))
    const downloads = new Map<TensorGroup, readonly MomentArray[]>()
    for (const names of groups) {
      const members = names.map((name) => old.get(name)!)
      const unchanged =
        members[0]!.group.parts.length === names.length && new Set(members.map(({ group }) => group)).size === 1
      if (unchanged) continue
      for (const { group } of members) if (!downloads.has(group)) downloads.set(group, await this.#downloadGroup(group))
      const arrays = this.#arraysOf(names[0]!).map((_, i) =>
        concatenate(
          members.map(({ group, part: { offset, length } }) =>
            (downloads.get(group)![i] as Float32Array).subarray(offset, offset + length),
          ),
        ),
      )
      const fresh = members.every(({ group }) => this.#groups.get(group)!.fresh)
      const tensors = members.map(({ part: { name, dims } }) => [name, dims] as const)
      await this.#addGroup(tensors, arrays, fresh)
    }
    for (const group of downloads.keys()) this.#releaseGroup(group)
  }

  async #addGroup(
    members: readonly (readonly [string, readonly number[]])[],
    arrays: readonly MomentArray[],
    fresh: boolean,
  ): Promise<void> {
    const group = createGroup(++this.#lastId, members)
    const tensors = group.parts.length === 1 ? [this.#parameters[group.parts[0]!.name]!] : []
    const parameter = group.parts[0]!.name
    for (const [i, what] of this.#arraysOf(parameter).entries())
      if (i >= tensors.length)
        tensors.push(await this.#uploadArray(this.#typeOf(parameter, what, group.dims), arrays[i]!))
    this.#groups.set(group, { tensors, fresh })
  }

  /** Frees a group, but not its parameters. */
  #releaseGroup(group: TensorGroup): void {
    const { tensors } = this.#groups.get(group)!
    for (const tensor of tensors) if (tensor !== getOwn(this.#parameters, group.parts[0]!.name)) tensor.release()
    this.#groups.delete(group)
  }

  async #downloadGroup(group: TensorGroup): Promise<readonly MomentArray[]> {
    const arrays: MomentArray[] = []
    for (const tensor of this.#groups.get(group)!.tensors)
      arrays.push((await this.#device.download(tensor)).data as MomentArray)
    return arrays
  }

  #uploadArray({ dtype, dims }: MomentType, data: MomentArray): Promise<DeviceTensor> {
    return this.#device.upload(tensor(dtype, dims, data))
  }
}

/** Downloads the elements of a float32 tensor. */
export const downloadFloats = async (device: Device, tensor: DeviceTensor): Promise<Float32Array> =>
  (await device.download(tensor)).data as Float32Array

/** A float32 scalar as a feed. */
export const scalarFeed = (x: number): Tensor => tensorFrom('float32', [], [x])

/**
 * Returns the gradient of a parameter.
 * @throws OnnxIreError `invalid-data` if it is missing or misshapen
 */
export function gradientOf(
  gradients: DeviceTensors,
  name: string,
  dims: readonly number[],
  what: string,
): DeviceTensor {
  const g = getOwn(gradients, name)
  if (!g) throw missingError(name, 'tensor', what)
  if (g.dtype !== 'float32' || g.dims.length !== dims.length || g.dims.some((dim, axis) => dim !== dims[axis]))
    throw new OnnxIreError(
      'invalid-data',
      `the ${what} of '${name}' is ${g.dtype}[${g.dims.join(', ')}], the parameter float32[${dims.join(', ')}]`,
    )
  return g
}

/** The feeds of the gradients of groups, `g/<group>/<part>`. Throws as `gradientOf`. */
export function gradientFeeds(
  groups: readonly TensorGroup[],
  gradients: DeviceTensors,
  what: string,
): Record<string, DeviceTensor> {
  const feeds: Record<string, DeviceTensor> = emptyRecord()
  for (const { id, parts } of groups)
    for (const [i, { name, dims }] of parts.entries())
      feeds[partName('g', id, i)] = gradientOf(gradients, name, dims, what)
  return feeds
}

function concatenate(arrays: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0))
  let offset = 0
  for (const array of arrays) {
    whole.set(array, offset)
    offset += array.length
  }
  return whole
}
