import { mapArrays } from '../../ir/float-array.js'
import { tensorFrom } from '../../ir/leaf.js'
import { sizeOf, tensor } from '../../ir/tensor.js'
import type { MaskRequest } from '../../optim/ire/mask.js'
import { maskNumbers, notFinite, rankOf, refreshMask, takeOf } from '../../optim/ire/mask.js'
import type { Device, DeviceTensor, DeviceTensors, Feeds } from '../../runtime/device.js'
import type { ResidenceSpec } from '../backend.js'
import { gradientOf, number } from './feeds.js'
import { type BundleMask, DeviceMask, HostMask } from './masks.js'
import type { Programs } from './programs.js'
import { rankingGraph } from './ranking-graph.js'

/** Makes IRE's masks: on the device by a graph, or on the host where the device says so. */
export class Ranking {
  readonly #device: Device
  readonly #spec: ResidenceSpec
  readonly #programs: Programs

  constructor(device: Device, spec: ResidenceSpec, programs: Programs) {
    this.#device = device
    this.#spec = spec
    this.#programs = programs
  }

  /**
   * The mask of a refresh; see `refreshMask`.
   * @param previous the mask so far
   * @throws 'not-finite' naming the step and the tensor, 'invalid-data' for missing or misshapen estimates
   */
  async refreshed(refresh: MaskRequest, estimates: DeviceTensors, previous: BundleMask | null): Promise<BundleMask> {
    const own = refresh.ranked.map((name): [string, DeviceTensor] => {
      return [name, gradientOf(estimates, name, this.#spec.parameters[name]!, refresh.what)]
    })
    const ranked = own.filter(([, { dims }]) => sizeOf(dims) > 0)
    return this.#device.ranking === 'host' || ranked.length === 0
      ? this.#onHost(refresh, own, previous)
      : this.#onDevice(refresh, ranked, previous)
  }

  async #onHost(refresh: MaskRequest, own: Own, previous: BundleMask | null): Promise<HostMask> {
    // Only their lengths are read.
    const zeros = mapArrays(this.#spec.parameters, (dims) => new Float32Array(sizeOf(dims)))
    const before = (await previous?.stored()) ?? null
    return new HostMask(this.#device, refreshMask(refresh, zeros, await this.#downloaded(own), before))
  }

  async #onDevice(refresh: MaskRequest, own: Own, previous: BundleMask | null): Promise<DeviceMask> {
    const { ire, step, what } = refresh
    const [smoothed, signed] = [ire.beta > 0, ire.curvature === 'hutchinson']
    const dims = own.map(([, { dims }]) => dims)
    const key = JSON.stringify(['ranking', own.map(([name]) => name), smoothed, signed])
    const program = await this.#programs.get(key, () => rankingGraph({ dims, smoothed, signed }))
    const total = dims.reduce((sum, each) => sum + sizeOf(each), 0)
    const k = rankOf(ire, total)
    const feeds: Record<string, Feeds[string]> = { k: whole(k) }
    if (signed) feeds['below'] = whole(total + 1 - k)
    for (const [i, [, g]] of own.entries()) feeds[`g/${i}`] = g
    const { kept } = smoothed
      ? await this.#withF(own, previous, (F) =>
          program.run({ ...feeds, ...F, beta: number(ire.beta), take: number(takeOf(refresh)) }),
        )
      : await program.run(feeds)
    const [cut, ...counts] = await this.#elements(kept['numbers']!)
    kept['numbers']!.release()
    const [flat, zero, finite] = [0, 1, 2].map((of) => counts.reduce((sum, n, i) => (i % 3 === of ? sum + n : sum), 0))
    const made = (output: string) => Object.fromEntries(own.map(([name], i) => [name, kept[`${output}/${i}`]!]))
    const mask = new DeviceMask(this.#device, this.#spec, this.#programs, {
      // -0 and 0 are a tie, and 0 stands for both.
      numbers: maskNumbers(refresh, total, { cut: cut! + 0, flat: flat!, zero: zero! }),
      n: made('n'),
      F: smoothed ? made('next/F') : null,
      earlier: smoothed ? await this.#earlier(own, previous) : {},
    })
    if (finite === total) return mask
    const F = smoothed ? await this.#downloaded(Object.entries(mask.F)) : {}
    mask.release()
    throw notFinite(Object.entries(await this.#downloaded(own)), Object.entries(F), step, what)
  }

  /** What `run` gives with the F of the tensors so far, `F/<i>`. */
  async #withF<T>(own: Own, previous: BundleMask | null, run: (F: Feeds) => Promise<T>): Promise<T> {
    const passing: DeviceTensor[] = []
    const F: Record<string, DeviceTensor> = {}
    try {
      for (const [i, [name, { dims }]] of own.entries()) {
        const held = previous instanceof DeviceMask ? previous.F[name] : undefined
        const data = () => hostF(previous, name) ?? new Float32Array(sizeOf(dims))
        const fed = held ?? (await this.#device.upload(tensor('float32', dims, data())))
        if (!held) passing.push(fed)
        F[`F/${i}`] = fed
      }
      return await run(F)
    } finally {
      for (const each of passing) each.release()
    }
  }

  /** F of tensors that are not ranked now, but were before. */
  async #earlier(own: Own, previous: BundleMask | null): Promise<Record<string, Float32Array>> {
    const now = new Set(own.map(([name]) => name))
    const earlier: Record<string, Float32Array> = {}
    for (const name of Object.keys(this.#spec.parameters)) {
      if (now.has(name)) continue
      const held = previous instanceof DeviceMask ? previous.F[name] : undefined
      const F = held ? await this.#elements(held) : hostF(previous, name)
      if (F) earlier[name] = F
    }
    return earlier
  }

  async #downloaded(tensors: Own): Promise<Record<string, Float32Array>> {
    const arrays: Record<string, Float32Array> = {}
    for (const [name, held] of tensors) arrays[name] = await this.#elements(held)
    return arrays
  }

  async #elements(held: DeviceTensor): Promise<Float32Array> {
    return (await this.#device.download(held)).data as Float32Array
  }
}

type Own = readonly (readonly [name: string, DeviceTensor])[]

const whole = (x: number) => tensorFrom('int32', [], [x])

/** The F of a tensor that a mask has on the host. */
function hostF(mask: BundleMask | null, name: string): Float32Array | undefined {
  if (mask instanceof DeviceMask) return mask.earlier[name]
  return mask instanceof HostMask ? (mask.numbers.curvature?.[name] as Float32Array | undefined) : undefined
}
