import { sizeOf, tensor } from '../../ir/tensor.js'
import { createRules, isGraphRule, type Rules, scalarsOf, type UpdateRule } from '../../optim/base-optimizer.js'
import { requireFinite } from '../../optim/gradient-norm.js'
import type { FlatMask } from '../../optim/ire/mask.js'
import { type MaskRequest, refreshMask } from '../../optim/ire/mask.js'
import { type Layers, unwrap } from '../../optim/optimizer.js'
import { samMoment } from '../../optim/sam.js'
import { momentsOf } from '../../optim/state.js'
import type { Device, DeviceTensor, DeviceTensors, Feeds } from '../../runtime/device.js'
import type { Runtime } from '../../runtime/runtime.js'
import { OnnxIreError } from '../../util/errors.js'
import { emptyRecord, getOwn, mergeRecords } from '../../util/record.js'
import type { AscentRequest, BackendSpec, StepStats, TensorUpdate, TrainingState, UpdateRequest } from '../backend.js'
import { DeviceBackend } from './device-backend.js'
import {
  DeviceState,
  downloadFloats,
  gradientFeeds,
  gradientOf,
  type ParameterDims,
  scalarFeed,
} from './device-state.js'
import { GraphGradientNorms } from './graph-gradient-norms.js'
import {
  buildAscentGraph,
  buildUpdateGraph,
  coefficientName,
  type GroupUpdate,
  ProgramCache,
  partName,
} from './step-graphs.js'
import type { TensorGroup } from './tensor-groups.js'

/** The current mask, and the mask before the last update, in case the update turns out not to be finite. */
interface Masks {
  readonly current: DeviceMask | null
  readonly previous: DeviceMask | null
}

/** The result of SAM's ascent. */
interface Ascended {
  readonly step: number
  readonly norms: GraphGradientNorms
  /** theta + e of the trained tensors, and `total`, the sum of squares of the gradient. */
  readonly outputs: DeviceTensors
  /** Tensors that a variant of SAM passes from the ascent to the update, by parameter. */
  readonly carried: DeviceTensors
}

/**
 * Training state in the memory of any device, updated by ONNX graphs. `stats` downloads one number per group of
 * tensors. Differences from the host:
 *
 * - Arithmetic is float32. Gradients whose squares overflow it (from 1.8e19 on) count as not finite.
 * - The states before and after an update are both in device memory for a moment, so that a failed update changes
 * nothing.
 * - A mask refresh downloads the estimates and ranks them on the host.
 */
export class OnnxBackend extends DeviceBackend {
  readonly rules: Rules
  readonly #runtime: Runtime
  readonly #device: Device
  readonly #dims: ParameterDims
  readonly #layers: Layers
  #programs: ProgramCache
  #state: DeviceState
  #masks: Masks = { current: null, previous: null }
  /** The mask for the `applyUpdate` of the same step. */
  #pendingMask: DeviceMask | null = null
  #ascended: Ascended | null = null
  /** Norms of the last update; null if it had no tensors. */
  #norms: GraphGradientNorms | null = null
  #stats: Promise<StepStats> | undefined
  #estimate: Readonly<Record<string, number>> = {}
  /** The sums of the last update that `stats` adds to the estimate. */
  #estimateSums: DeviceTensors = {}

  /** Throws `invalid-option` for float64 parameters. */
  constructor(runtime: Runtime, device: Device, spec: BackendSpec) {
    super(runtime, device, spec)
    this.#runtime = runtime
    this.#device = device
    this.#layers = unwrap(spec.optimizer)
    this.rules = spec.rules ?? createRules(this.#layers.base)
    this.#dims = Object.fromEntries([...spec.parameters].map(([name, { shape }]) => [name, shape as readonly number[]]))
    this.#programs = new ProgramCache(runtime, device)
    this.#state = this.#createState()
  }

  get parameters(): DeviceTensors {
    return this.#state.parameters
  }

  get estimate(): Readonly<Record<string, number>> {
    return this.#estimate
  }

  override async load(state: TrainingState): Promise<void> {
    const { parameters, optimizer } = state
    await this.#state.upload(parameters, momentsOf(this.#layers, this.rules, parameters, optimizer))
    await this.#releaseStep()
    this.#estimate = optimizer.estimate ?? this.#layers.base.estimate?.initial ?? {}
    this.#setMasks({ current: optimizer.mask && new DeviceMask(this.#device, optimizer.mask), previous: null })
    await super.load(state)
  }

  override async download(state: TrainingState): Promise<void> {
    const { parameters, optimizer } = state
    await this.#state.download(parameters, momentsOf(this.#layers, this.rules, parameters, optimizer))
    optimizer.mask = this.#masks.current?.mask ?? null
    if (this.#layers.base.estimate) optimizer.estimate = this.#estimate
    await super.download(state)
  }

  override async dispose(): Promise<void> {
    this.#state.release()
    await this.#releaseStep()
    await super.dispose()
  }

  protected reset(): void {
    this.#programs = new ProgramCache(this.#runtime, this.#device)
    this.#state = this.#createState()
    this.#masks = { current: null, previous: null }
    this.#pendingMask = null
    this.#ascended = null
    this.#norms = null
    this.#stats = undefined
    this.#estimateSums = {}
  }

  async refreshMask(request: MaskRequest, estimates: DeviceTensors): Promise<void> {
    const own = request.ranked.map(
      (name) => [name, gradientOf(estimates, name, this.#dims[name]!, request.what)] as const,
    )
    const arrays: Record<string, Float32Array> = emptyRecord()
    for (const [name, tensor] of own) arrays[name] = await downloadFloats(this.#device, tensor)
    // Only the lengths are read.
    const parameters = Object.fromEntries(
      Object.entries(this.#dims).map(([name, dims]) => [name, new Float32Array(sizeOf(dims))]),
    )
    const mask = refreshMask(request, parameters, arrays, this.#masks.current?.mask ?? null)
    this.#pendingMask?.release()
    this.#pendingMask = new DeviceMask(this.#device, mask)
  }

  async ascend({ sam, step, tensors, what }: AscentRequest, gradients: DeviceTensors): Promise<DeviceTensors> {
    this.#releaseAscent()
    const keys = new Map(tensors.map((update) => [update.name, keyOf(update)]))
    await this.#state.regroup((name) => keys.get(name))
    const groups = this.#state.groups.filter(({ parts }) => keys.has(parts[0]!.name))
    if (groups.length === 0) return this.parameters
    const first = new Set(tensors.flatMap(({ name, t }) => (t === 0 ? [name] : [])))
    const isFirst = ({ parts }: TensorGroup) => first.has(parts[0]!.name)
    const firstGroups = sam.variant === 'friendly' ? groups.map(isFirst) : []
    const key = JSON.stringify(['ascent', sam.adaptive, groups.map(({ id }) => id), firstGroups])
    const program = await this.#programs.get(key, () => buildAscentGraph(groups, sam, isFirst))
    const feeds: Record<string, Feeds[string]> = { rho: scalarFeed(sam.rho) }
    Object.assign(feeds, gradientFeeds(groups, gradients, what))
    for (const group of groups) {
      const state = this.#state.feeds(group)
      for (const array of sam.variant === 'friendly' ? ['theta', 'gradientMean'] : ['theta'])
        feeds[`${array}/${group.id}`] = state[`${array}/${group.id}`]!
    }
    if (firstGroups.includes(false)) {
      feeds['sigma'] = scalarFeed(sam.sigma)
      feeds['oneMinusDecay'] = scalarFeed(1 - sam.meanDecay)
    }
    const { device: outputs } = await program.run(feeds)
    const byName = (prefix: string) =>
      Object.fromEntries(
        groups.flatMap(({ id, parts }) =>
          parts.map(({ name }, i) => [name, outputs[partName(prefix, id, i)]!] as const),
        ),
      )
    const norms = new GraphGradientNorms(this.#device, `step ${step}`, what, groups, outputs)
    const carried = samMoment(sam) ? byName('carried') : {}
    this.#ascended = { step, norms, outputs, carried }
    return mergeRecords(this.parameters, byName('ascended'))
  }

  async applyUpdate(request: UpdateRequest, gradients: DeviceTensors): Promise<void> {
    const { step, tensors, kappa, clipValue, clipNorm, what } = request
    // Results of another step are left from an abandoned step.
    const ascended = this.#ascended?.step === step ? this.#ascended : null
    const mask = this.#pendingMask?.mask.refreshedAt === step ? this.#pendingMask : this.#masks.current
    const byName = new Map(tensors.map((update) => [update.name, { update, key: keyOf(update) }]))
    await this.#state.regroup((name) => byName.get(name)?.key)

    const feeds: Record<string, Feeds[string]> = emptyRecord()
    const updates: GroupUpdate[] = []
    const numbers = new Map<string, number>()
    for (const group of this.#state.groups) {
      const found = byName.get(group.parts[0]!.name)
      if (!found) continue
      const { key, update } = found
      const coefficients = numbers.get(key) ?? numbers.size
      numbers.set(key, coefficients)
      for (const name of scalarsOf(update.rule))
        feeds[coefficientName(coefficients, name)] = scalarFeed(update.coefficients[name]!)
      const enhanced = kappa > 0 && mask !== null && update.enhanced
      if (enhanced) feeds[`n/${group.id}`] = await mask.upload(group)
      if (enhanced) feeds['kappa'] = scalarFeed(kappa)
      Object.assign(feeds, this.#state.feeds(group))
      updates.push({ group, rule: update.rule, coefficients, enhanced })
    }
    const groups = updates.map(({ group }) => group)
    Object.assign(feeds, gradientFeeds(groups, gradients, what))
    const [clipsValue, clipsNorm] = [clipValue < Infinity, clipNorm < Infinity]
    if (clipsValue) feeds['clipValue'] = scalarFeed(clipValue)
    if (clipsNorm) feeds['clipNorm'] = scalarFeed(clipNorm)
    if (ascended) feeds['ascent'] = ascended.outputs['total']!
    const variant = this.#layers.sam?.variant
    for (const { id, parts } of ascended && this.#samMoment ? groups : [])
      for (const [i, { name }] of parts.entries()) feeds[partName('carried', id, i)] = ascended!.carried[name]!
    if (variant === 'look' && !ascended) feeds['alpha'] = scalarFeed(this.#layers.sam!.alpha)

    let norms: GraphGradientNorms | null = null
    this.#releaseEstimate()
    if (groups.length > 0) {
      const form = { updates, clipsValue, clipsNorm, ascended: ascended !== null, variant }
      const key = JSON.stringify([
        'update',
        updates.map(({ group, rule, coefficients, enhanced }) => [group.id, ruleKey(rule), coefficients, enhanced]),
        [clipsValue, clipsNorm, form.ascended],
      ])
      const program = await this.#programs.get(key, () => buildUpdateGraph(form))
      const { device: outputs } = await program.run(feeds)
      for (const group of groups) this.#state.replace(group, outputs)
      norms = new GraphGradientNorms(this.#device, `step ${step}`, what, groups, outputs, ascended?.norms)
      this.#estimateSums = Object.fromEntries(Object.entries(outputs).filter(([name]) => name.startsWith('estimate/')))
    }
    this.#setMasks({ current: mask, previous: this.#masks.current })
    this.#norms?.release()
    this.#norms = norms
    this.#stats = undefined
    this.#releaseAscent(norms && ascended)
  }

  stats(): Promise<StepStats> {
    this.#stats ??= this.#readStats()
    return this.#stats
  }

  async checkFinite(names: readonly string[], gradients: DeviceTensors, place: string, what: string): Promise<void> {
    for (const name of names) {
      const tensor = getOwn(gradients, name)
      if (tensor) requireFinite(await downloadFloats(this.#device, tensor), name, place, what)
    }
  }

  async #readStats(): Promise<StepStats> {
    try {
      const gradientNorm = (await this.#norms?.download()) ?? 0
      await this.#updateEstimate()
      // The update is final: the previous mask is no longer needed.
      this.#setMasks({ current: this.#masks.current, previous: null })
      const { flatShare = 0, zeroShare = null, threshold = null } = this.#masks.current?.mask ?? {}
      return { gradientNorm, flatShare, zeroShare, threshold }
    } catch (error) {
      if (error instanceof OnnxIreError && error.code === 'not-finite')
        this.#setMasks({ current: this.#masks.previous, previous: this.#masks.previous })
      throw error
    }
  }

  async #updateEstimate(): Promise<void> {
    const { estimate } = this.#layers.base
    const sums = emptyRecord<number>()
    for (const [name, tensor] of Object.entries(this.#estimateSums))
      sums[name.slice('estimate/'.length)] = (await downloadFloats(this.#device, tensor))[0]!
    if (estimate && Object.keys(sums).length > 0) this.#estimate = estimate.next(this.#estimate, sums)
    this.#releaseEstimate()
  }

  #releaseEstimate(): void {
    for (const tensor of Object.values(this.#estimateSums)) tensor.release()
    this.#estimateSums = {}
  }

  get #samMoment(): string | null {
    const { sam } = this.#layers
    return sam && samMoment(sam)
  }

  #createState(): DeviceState {
    return new DeviceState(this.#device, this.#dims, this.rules, this.#samMoment)
  }

  /** Replaces the masks, and releases those that are no longer used. */
  #setMasks(masks: Masks): void {
    const unused = new Set([this.#masks.current, this.#masks.previous, this.#pendingMask])
    for (const mask of [masks.current, masks.previous]) unused.delete(mask)
    for (const mask of unused) mask?.release()
    this.#masks = masks
    this.#pendingMask = null
  }

  /** Releases the result of the ascent; its norms too, unless an update took them over. */
  #releaseAscent(takenOver: Ascended | null = null): void {
    for (const [name, tensor] of Object.entries(this.#ascended?.outputs ?? {}))
      if (name === 'total' || name.startsWith('ascended/') || name.startsWith('carried/')) tensor.release()
    if (this.#ascended !== takenOver) this.#ascended?.norms.release()
    this.#ascended = null
  }

  /** Releases everything but parameters, moments and averages. */
  async #releaseStep(): Promise<void> {
    this.#releaseAscent()
    this.#norms?.release()
    this.#norms = null
    this.#releaseEstimate()
    this.#stats = undefined
    this.#setMasks({ current: null, previous: null })
    await this.#programs.release()
  }
}

/**
 * Tensors of the same key may be in one group. With t, which differs forever between tensors that begin at different
 * steps, a resumed run has the groups of an uninterrupted one, and its norms the same bits.
 */
const keyOf = ({ name, rule, t, coefficients, enhanced }: TensorUpdate): string =>
  JSON.stringify([ruleKey(rule, name), enhanced, t, coefficients])

const formulaNumbers = new WeakMap<object, number>()
let formulaCount = 0

/** Identifies a rule; with the name of a tensor, tensors of the same key may be in one group: a graph needs its own. */
function ruleKey(rule: UpdateRule, name?: string): string {
  if (isGraphRule(rule)) return `${rule.key} ${name ?? ''}`
  const { formula } = rule
  const number = formulaNumbers.get(formula) ?? ++formulaCount
  formulaNumbers.set(formula, number)
  return `formula ${number}`
}

/** A mask of the host and its copies in device memory, which are uploaded by group when an update needs them. */
class DeviceMask {
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
