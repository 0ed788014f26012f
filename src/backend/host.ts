import { type FloatArray, mapArrays, zerosLike } from '../ir/float-array.js'
import { arrayOf, type Gradients, type ParameterArrays } from '../optim/arrays.js'
import { evaluate, evaluateOne } from '../optim/expr/evaluate.js'
import { clipFactor, clippedNorm, finiteNorm, requireFinite } from '../optim/gradient-norm.js'
import type { MaskRequest } from '../optim/ire/mask.js'
import { type FlatMask, refreshMask } from '../optim/ire/mask.js'
import type { Optimizer } from '../optim/optimizer.js'
import { momentsOf, type OptimizerState } from '../optim/state.js'
import { adaptiveAscent, adaptiveNorm, ascent, updateFormula } from '../optim/update-formulas.js'
import type { AscentRequest, Residence, StepStats, TensorUpdate, UpdateRequest } from './backend.js'

/** Training state in the host's own arrays: `parameters` and `state` are written in place, and by `apply` only. */
export class ArrayResidence implements Residence<ParameterArrays, Gradients> {
  readonly parameters: ParameterArrays
  private readonly state: OptimizerState
  private readonly moments: Readonly<Record<string, ParameterArrays>>
  /** The mask of a step that is not applied yet. */
  private renewed: FlatMask | null = null
  private gradientNorm = 0
  private readonly count: number

  /** @throws 'invalid-data' when the state belongs to another optimizer or other parameters */
  constructor(optimizer: Optimizer, parameters: ParameterArrays, state: OptimizerState) {
    this.parameters = parameters
    this.state = state
    this.count = Object.keys(parameters).length
    this.moments = momentsOf(optimizer, parameters, state)
  }

  refresh(refresh: MaskRequest, estimates: Gradients): void {
    this.renewed = refreshMask(refresh, this.parameters, estimates, this.state.mask)
  }

  ascend({ sam: { rho, adaptive }, step, trained, what }: AscentRequest, gradients: Gradients): ParameterArrays {
    const parameters = this.named(trained)
    const norm = finiteNorm(parameters, gradients, `step ${step}`, what)
    const scale = rho / ((adaptive ? this.weightedNorm(parameters, gradients) : norm) + 1e-12)
    const ascended = scratchFor(this.state, parameters)
    const columns = {
      theta: trained.map((name) => parameters[name]!),
      g: trained.map((name) => gradients[name]!),
      ascended: trained.map((name) => ascended[name]!),
    }
    evaluate(adaptive ? adaptiveAscent : ascent, columns, { scale })
    return { ...this.parameters, ...ascended }
  }

  apply(application: UpdateRequest, gradients: Gradients): void {
    const { step, formula, tensors, kappa, clipValue, clipNorm, what } = application
    const trained = this.named(tensors.map(({ name }) => name))
    const norm = finiteNorm(trained, gradients, `step ${step}`, what)
    const left = clipNorm < Infinity ? clippedNorm(trained, gradients, norm, clipValue) : norm
    const scale = clipFactor(left, clipNorm)
    const clipped = norm > clipValue
    const mask = this.maskAt(step)
    for (const { coefficients, enhanced, names } of alike(
      tensors,
      (name) => kappa > 0 && mask?.flat[name] !== undefined,
    )) {
      const arraysOf = (arrays: Readonly<Record<string, FloatArray | Uint8Array>>) => names.map((name) => arrays[name]!)
      const columns: Record<string, readonly (FloatArray | Uint8Array)[]> = {
        theta: arraysOf(trained),
        g: arraysOf(gradients),
        ...mapArrays(this.moments, arraysOf),
        ...(enhanced ? { n: arraysOf(mask!.flat) } : {}),
      }
      const variant = updateFormula(formula, { clipped, enhanced })
      evaluate(variant, columns, { ...coefficients, scale, limit: clipValue, kappa })
    }
    this.state.mask = mask
    this.renewed = null
    this.gradientNorm = norm
  }

  numbers(): StepStats {
    const { flatShare = 0, zeroShare = null, threshold = null } = this.state.mask ?? {}
    return { gradientNorm: this.gradientNorm, flatShare, zeroShare, threshold }
  }

  requireFinite(names: readonly string[], gradients: Gradients, place: string, what: string): void {
    for (const [name, { length }] of Object.entries(this.named(names)))
      requireFinite(arrayOf(gradients, name, length, what), name, place, what)
  }

  /** The mask that step `step` made, unless it is an abandoned one's; else the one before it. */
  private maskAt(step: number): FlatMask | null {
    return this.renewed?.refreshedAt === step ? this.renewed : this.state.mask
  }

  private named(names: readonly string[]): Readonly<Record<string, FloatArray>> {
    if (names.length === this.count) return this.parameters
    return Object.fromEntries(names.map((name) => [name, this.parameters[name]!]))
  }

  /** ||abs(theta) g|| over all tensors. */
  private weightedNorm(parameters: ParameterArrays, gradients: Gradients): number {
    let sum = 0
    for (const [name, theta] of Object.entries(parameters))
      sum += evaluateOne(adaptiveNorm, { theta, g: gradients[name]! })['squares']!
    return Math.sqrt(sum)
  }
}

/** Tensors that move by the same formula and numbers. */
interface Alike {
  readonly coefficients: TensorUpdate['coefficients']
  readonly enhanced: boolean
  readonly names: string[]
}

function alike(tensors: readonly TensorUpdate[], isEnhanced: (name: string) => boolean): Alike[] {
  const groups = new Map<TensorUpdate['coefficients'], Alike[]>()
  for (const { name, coefficients, ...others } of tensors) {
    const enhanced = others.enhanced && isEnhanced(name)
    const same = groups.get(coefficients) ?? []
    groups.set(coefficients, same)
    const group = same.find((other) => other.enhanced === enhanced)
    if (group) group.names.push(name)
    else same.push({ coefficients, enhanced, names: [name] })
  }
  return [...groups.values()].flat()
}

const scratch = new WeakMap<object, ParameterArrays>()

/** Where theta + e is written: arrays kept per state, those of the last call where they fit, so that they stay the same over a run. */
function scratchFor(owner: object, parameters: ParameterArrays): ParameterArrays {
  const kept = scratch.get(owner)
  const made = mapArrays(parameters, (array, name) => {
    const own = kept && Object.hasOwn(kept, name) ? kept[name] : undefined
    return own?.length === array.length && own.constructor === array.constructor ? own : zerosLike(array)
  })
  scratch.set(owner, made)
  return made
}
