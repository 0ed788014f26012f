import { checkBoolean, checkNames, checkNumber, count, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { BaseOptimizer } from './base-optimizer.js'

/** How one parameter tensor is trained; what is left out is as for all the others. */
export interface ParameterSettings {
  /** Factor on the learning rate; default 1. */
  readonly lrScale?: number
  /** Replaces the base optimizer's weight decay. */
  readonly weightDecay?: number
  /**
   * Default true. False: IRE leaves the tensor alone, which is then neither enhanced nor counted in the N of the global
   * threshold.
   */
  readonly enhanced?: boolean
  /**
   * The step from which the tensor is trained; default 0. Before it the tensor and its moments stay as they are, it
   * counts neither in the gradient norm nor in clipping, SAM's ascent or IRE's threshold, and no reply needs its
   * gradient. Its own t, for Adam's bias correction and the first step of momentum, is `step - startStep`. IRE enhances it
   * from the first refresh on that finds it trained.
   */
  readonly startStep?: number
}

/** One tensor's settings at one step, with their defaults. */
export interface TensorPlan {
  /** Updates of this tensor that came before. */
  readonly t: number
  readonly lrScale: number
  readonly weightDecay: number
}

/** Which tensors a step trains, and how. */
export interface StepPlan {
  /** The tensors with `startStep <= step`. */
  readonly trained: readonly string[]
  /** Those of them that IRE may enhance: their elements are the N of the threshold. */
  readonly enhanced: readonly string[]
  readonly of: (name: string) => TensorPlan
}

/**
 * The settings of all tensors at step `step`.
 * @param parameters the names of all tensors
 * @throws 'invalid-option' for a name that is no parameter, a misspelt or out-of-range field
 */
export function planStep(
  base: BaseOptimizer,
  parameters: readonly string[],
  settings: Readonly<Record<string, ParameterSettings>>,
  step: number,
): StepPlan {
  const names = Object.keys(settings)
  const common: TensorPlan = { t: step, lrScale: 1, weightDecay: base.weightDecay }
  if (names.length === 0) return { trained: parameters, enhanced: parameters, of: () => common }

  const known = new Set(parameters)
  for (const name of names)
    if (!known.has(name))
      throw new OnnxIreError(
        'invalid-option',
        `settings: there is no parameter '${name}'; give settings for trained parameters only, by their full names`,
      )
  const plans = new Map<string, TensorPlan>()
  const trained: string[] = []
  const enhanced: string[] = []
  for (const name of parameters) {
    const own = checkSettings(name, (Object.hasOwn(settings, name) && settings[name]) || {})
    if (own.startStep > step) continue
    trained.push(name)
    if (own.enhanced) enhanced.push(name)
    const weightDecay = own.weightDecay ?? base.weightDecay
    plans.set(name, { t: step - own.startStep, lrScale: own.lrScale, weightDecay })
  }
  return { trained, enhanced, of: (name) => plans.get(name) ?? common }
}

function checkSettings(name: string, settings: ParameterSettings) {
  const owner = `settings of '${name}'`
  checkNames(owner, settings, ['lrScale', 'weightDecay', 'enhanced', 'startStep'])
  const { lrScale = 1, weightDecay, enhanced = true, startStep = 0 } = settings
  return {
    lrScale: checkNumber(owner, 'lrScale', lrScale, nonNegative),
    weightDecay: weightDecay === undefined ? undefined : checkNumber(owner, 'weightDecay', weightDecay, nonNegative),
    enhanced: checkBoolean(owner, 'enhanced', enhanced),
    startStep: checkNumber(owner, 'startStep', startStep, count),
  }
}
