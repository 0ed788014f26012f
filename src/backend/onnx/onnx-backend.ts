import type { ParameterArrays } from '../../optim/arrays.js'
import { requireFinite } from '../../optim/gradient-norm.js'
import type { MaskRequest } from '../../optim/ire/mask.js'
import { momentsOf, type OptimizerState } from '../../optim/state.js'
import type { Device, DeviceTensors, Feeds } from '../../runtime/device.js'
import { OnnxIreError } from '../../util/errors.js'
import type {
  AscentRequest,
  DeviceResidence,
  ResidenceSpec,
  StepStats,
  TensorUpdate,
  UpdateRequest,
} from '../backend.js'
import { applyGraph, factorName, type Moved } from './apply-graph.js'
import { ascentGraph } from './ascent-graph.js'
import { gradientFeeds, number } from './feeds.js'
import { partName } from './flat.js'
import { Held } from './held.js'
import { type BundleMask, HostMask } from './masks.js'
import { Measured } from './measured.js'
import { Programs } from './programs.js'
import { Ranking } from './ranking.js'

/**
 * Training state on any device, updated by ONNX graphs that run there: parameters, moments and mask stay there, and
 * `numbers` brings back one number per large tensor and per bundle of small ones. Unlike on the host:
 *
 * - the arithmetic is in float32, and gradients whose squares overflow it (from 1.8e19 on) count as not finite;
 * - the state from before and after a step are both there while it is applied, so that a failed one changes nothing;
 * - a refresh computes F in float32 and ranks it exactly, there or where `device.ranking` says; a GPU may take numbers below
 *   1.2e-38 for 0.
 */
export async function graphResidence(device: Device, spec: ResidenceSpec): Promise<DeviceResidence<DeviceTensors>> {
  return new GraphResidence(device, spec)
}

/** A mask, and the one to go back to should the step turn out not to be finite. */
interface Masks {
  readonly current: BundleMask | null
  readonly before: BundleMask | null
}

/** What SAM's ascent came to. */
interface Ascended {
  readonly step: number
  readonly measured: Measured
  /** Its point, of the trained tensors, and `total`, the sum of squares of its gradient. */
  readonly made: DeviceTensors
}

class GraphResidence implements DeviceResidence<DeviceTensors> {
  readonly #device: Device
  readonly #spec: ResidenceSpec
  readonly #programs: Programs
  readonly #held: Held
  readonly #ranking: Ranking
  #masks: Masks = { current: null, before: null }
  /** Made by `refresh`, for this step's `apply`. */
  #pending: BundleMask | null = null
  #ascended: Ascended | null = null
  /** What the last step measured; null where it trained nothing. */
  #measured: Measured | null = null
  #numbers: Promise<StepStats> | undefined

  constructor(device: Device, spec: ResidenceSpec) {
    this.#device = device
    this.#spec = spec
    this.#programs = new Programs(device)
    this.#held = new Held(device, spec)
    this.#ranking = new Ranking(device, spec, this.#programs)
  }

  get parameters(): DeviceTensors {
    return this.#held.parameters
  }

  async load(parameters: ParameterArrays, state: OptimizerState): Promise<void> {
    await this.#held.load(parameters, momentsOf(this.#spec.base, parameters, state))
    await this.#forget()
    this.#become({ current: state.mask && new HostMask(this.#device, state.mask), before: null })
  }

  async store(parameters: ParameterArrays, state: OptimizerState): Promise<void> {
    await this.#held.store(parameters, momentsOf(this.#spec.base, parameters, state))
    state.mask = (await this.#masks.current?.stored()) ?? null
  }

  async release(): Promise<void> {
    this.#held.release()
    await this.#forget()
  }

  async refresh(refresh: MaskRequest, estimates: DeviceTensors): Promise<void> {
    const made = await this.#ranking.refreshed(refresh, estimates, this.#masks.current)
    this.#pending?.release()
    this.#pending = made
  }

  async requireFinite(names: readonly string[], gradients: DeviceTensors, place: string, what: string): Promise<void> {
    for (const [name, array] of Object.entries(await this.#downloaded(names, gradients)))
      requireFinite(array, name, place, what)
  }

  async #downloaded(names: readonly string[], tensors: DeviceTensors): Promise<Record<string, Float32Array>> {
    const arrays: Record<string, Float32Array> = {}
    for (const name of names) {
      const tensor = Object.hasOwn(tensors, name) ? tensors[name] : undefined
      if (tensor) arrays[name] = (await this.#device.download(tensor)).data as Float32Array
    }
    return arrays
  }

  async ascend({ sam, step, trained, what }: AscentRequest, gradients: DeviceTensors): Promise<DeviceTensors> {
    this.#dropAscent()
    const names = new Set(trained)
    await this.#held.settle((name) => (names.has(name) ? 'trained' : undefined))
    const bundles = this.#held.bundles.filter(({ parts }) => names.has(parts[0]!.name))
    if (bundles.length === 0) return this.parameters
    const program = await this.#programs.get(
      JSON.stringify(['ascent', sam.adaptive, bundles.map(({ id }) => id)]),
      () => ascentGraph(bundles, sam.adaptive),
    )
    const feeds: Record<string, Feeds[string]> = { rho: number(sam.rho) }
    Object.assign(feeds, gradientFeeds(bundles, gradients, what))
    for (const bundle of bundles) feeds[`theta/${bundle.id}`] = this.#held.feeds(bundle)[`theta/${bundle.id}`]!
    const { kept } = await program.run(feeds)
    const measured = new Measured(this.#device, `step ${step}`, what, bundles, kept)
    this.#ascended = { step, measured, made: kept }
    const ascended = bundles.flatMap(({ id, parts }) =>
      parts.map(({ name }, i) => [name, kept[partName('ascended', id, i)]!] as const),
    )
    return { ...this.parameters, ...Object.fromEntries(ascended) }
  }

  async apply(application: UpdateRequest, gradients: DeviceTensors): Promise<void> {
    const { step, tensors, formula, kappa, clipValue, clipNorm, what } = application
    const ascended = this.#ascended?.step === step ? this.#ascended : null
    const mask = this.#pending?.numbers.refreshedAt === step ? this.#pending : this.#masks.current
    const updates = new Map(tensors.map((update) => [update.name, { update, key: keyOf(update) }]))
    await this.#held.settle((name) => updates.get(name)?.key)

    const feeds: Record<string, Feeds[string]> = {}
    const moved: Moved[] = []
    const numbers = new Map<string, number>()
    for (const bundle of this.#held.bundles) {
      const found = updates.get(bundle.parts[0]!.name)
      if (!found) continue
      const { key, update } = found
      const group = numbers.get(key) ?? numbers.size
      numbers.set(key, group)
      for (const name of formula.scalars) feeds[factorName(group, name)] = number(update.coefficients[name]!)
      const enhanced = kappa > 0 && mask !== null && update.enhanced
      if (enhanced) feeds[`n/${bundle.id}`] = await mask.n(bundle)
      if (enhanced) feeds['kappa'] = number(kappa)
      Object.assign(feeds, this.#held.feeds(bundle))
      moved.push({ bundle, factors: group, enhanced })
    }
    const bundles = moved.map(({ bundle }) => bundle)
    Object.assign(feeds, gradientFeeds(bundles, gradients, what))
    const [clipsValue, clipsNorm] = [clipValue < Infinity, clipNorm < Infinity]
    if (clipsValue) feeds['clipValue'] = number(clipValue)
    if (clipsNorm) feeds['clipNorm'] = number(clipNorm)
    if (ascended) feeds['ascent'] = ascended.made['total']!

    let measured: Measured | null = null
    if (bundles.length > 0) {
      const form = {
        formula,
        moments: this.#spec.base.moments,
        moved,
        clipsValue,
        clipsNorm,
        ascended: ascended !== null,
      }
      const key = JSON.stringify([
        'apply',
        formula.outputs,
        moved.map(({ bundle, factors, enhanced }) => [bundle.id, factors, enhanced]),
        [clipsValue, clipsNorm, form.ascended],
      ])
      const program = await this.#programs.get(key, () => applyGraph(form))
      const { kept } = await program.run(feeds)
      for (const bundle of bundles) this.#held.advance(bundle, kept)
      measured = new Measured(this.#device, `step ${step}`, what, bundles, kept, ascended?.measured)
    }
    this.#become({ current: mask, before: this.#masks.current })
    this.#measured?.release()
    this.#measured = measured
    this.#numbers = undefined
    this.#dropAscent(measured && ascended)
  }

  numbers(): Promise<StepStats> {
    this.#numbers ??= this.#read()
    return this.#numbers
  }

  async #read(): Promise<StepStats> {
    try {
      const gradientNorm = (await this.#measured?.norm()) ?? 0
      // There is no going back from here.
      this.#become({ current: this.#masks.current, before: null })
      const { flatShare = 0, zeroShare = null, threshold = null } = this.#masks.current?.numbers ?? {}
      return { gradientNorm, flatShare, zeroShare, threshold }
    } catch (error) {
      if (error instanceof OnnxIreError && error.code === 'not-finite')
        this.#become({ current: this.#masks.before, before: this.#masks.before })
      throw error
    }
  }

  /** Puts masks into force and frees those of before that are none of them. */
  #become(masks: Masks): void {
    const { current, before } = this.#masks
    const left = new Set([current, before, this.#pending])
    for (const mask of [masks.current, masks.before]) left.delete(mask)
    for (const mask of left) mask?.release()
    this.#masks = masks
    this.#pending = null
  }

  /** Frees the ascent's point; what it measured too, unless a step `used` it. */
  #dropAscent(used: Ascended | null = null): void {
    for (const [name, tensor] of Object.entries(this.#ascended?.made ?? {}))
      if (name === 'total' || name.startsWith('ascended/')) tensor.release()
    if (this.#ascended !== used) this.#ascended?.measured.release()
    this.#ascended = null
  }

  async #forget(): Promise<void> {
    this.#dropAscent()
    this.#measured?.release()
    this.#measured = null
    this.#numbers = undefined
    this.#become({ current: null, before: null })
    await this.#programs.release()
  }
}

/** Tensors of one key may share a bundle. */
const keyOf = ({ coefficients, enhanced }: TensorUpdate): string => JSON.stringify([enhanced, coefficients])
