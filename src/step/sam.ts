import { type FloatArray, type Gradients, mapArrays, type ParameterArrays, zerosLike } from '../optim/arrays.js'
import type { BaseOptimizer } from '../optim/base.js'
import { checkBoolean, checkNames, checkNumber, invalidOption, nonNegative } from '../optim/option.js'

/** Options of `sam`. */
export interface SamOptions {
  /** The length of the ascent; default 0.05. */
  readonly rho?: number
  /** Scale the ascent by the parameters (Kwon et al. 2021, arXiv 2102.11600); default false. */
  readonly adaptive?: boolean
}

/** A base optimizer that is given the gradient at the top of a small ascent. */
export interface SamOptimizer {
  readonly kind: 'sam'
  readonly base: BaseOptimizer
  readonly rho: number
  readonly adaptive: boolean
}

/**
 * Sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412): two gradients per step, the second at theta + e,
 *
 *     e = rho g / (||g|| + 1e-12)                          with the norm of all tensors together
 *     e = rho theta^2 g / (||abs(theta) g|| + 1e-12)       adaptive
 *
 * @throws 'invalid-option'
 */
export function sam(base: BaseOptimizer, options: SamOptions = {}): SamOptimizer {
  if (base.kind !== 'base') throw invalidOption('sam', 'base', base.kind, 'a base optimizer; write ire(sam(sgd()))')
  checkNames('sam', options, ['rho', 'adaptive'])
  const rho = checkNumber('sam', 'rho', options.rho ?? 0.05, nonNegative)
  return Object.freeze({ kind: 'sam', base, rho, adaptive: checkBoolean('sam', 'adaptive', options.adaptive ?? false) })
}

/**
 * theta + e, written to arrays of its own: theta is never touched, so there is nothing to restore and nothing that a
 * failure half-way could leave behind. The arrays are kept per owner, so that their identity is stable over a run.
 * @param parameters the tensors that are trained; for these e is not 0
 * @param norm ||g||
 */
export function ascend(
  { rho, adaptive }: SamOptimizer,
  parameters: ParameterArrays,
  gradients: Gradients,
  norm: number,
  owner: object,
): ParameterArrays {
  const ascended = scratchFor(owner, parameters)
  const scale = rho / ((adaptive ? weightedNorm(parameters, gradients) : norm) + 1e-12)
  for (const [name, theta] of Object.entries(parameters)) {
    if (adaptive) ascendAdaptive(ascended[name]!, theta, gradients[name]!, scale)
    else ascendPlain(ascended[name]!, theta, gradients[name]!, scale)
  }
  return ascended
}

function ascendPlain(out: FloatArray, theta: FloatArray, g: FloatArray, scale: number): void {
  for (let i = 0; i < theta.length; i++) out[i] = theta[i]! + scale * g[i]!
}

function ascendAdaptive(out: FloatArray, theta: FloatArray, g: FloatArray, scale: number): void {
  for (let i = 0; i < theta.length; i++) out[i] = theta[i]! + scale * theta[i]! * theta[i]! * g[i]!
}

/** ||abs(theta) g|| over all tensors. */
function weightedNorm(parameters: ParameterArrays, gradients: Gradients): number {
  let sum = 0
  for (const [name, theta] of Object.entries(parameters)) sum += sumOfSquaredProducts(theta, gradients[name]!)
  return Math.sqrt(sum)
}

function sumOfSquaredProducts(a: FloatArray, b: FloatArray): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i]! * b[i]!) ** 2
  return sum
}

const scratch = new WeakMap<object, ParameterArrays>()

/** An array per parameter, those of the last call where they fit. */
function scratchFor(owner: object, parameters: ParameterArrays): ParameterArrays {
  const kept = scratch.get(owner)
  const made = mapArrays(parameters, (array, name) => {
    const own = kept && Object.hasOwn(kept, name) ? kept[name] : undefined
    return own?.length === array.length && own.constructor === array.constructor ? own : zerosLike(array)
  })
  scratch.set(owner, made)
  return made
}
