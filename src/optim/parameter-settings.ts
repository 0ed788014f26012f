import { checkBoolean, checkNames, checkNumber, count, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'
import type { BaseOptimizer } from './base-optimizer.js'

/** Training settings of one parameter tensor. */
export interface ParameterSettings {
  /** Factor on the learning rate; default 1. */
  readonly lrScale?: number
  /** Weight decay; default that of the base optimizer. */
  readonly weightDecay?: number
  /**
   * Whether IRE may enhance the tensor; default true. If false, its elements do not count in the N of the global
   * threshold.
   */
  readonly enhanced?: boolean
  /**
   * The first step at which the tensor is trained; default 0. Before this step the tensor and its moments do not
   * change, no gradient of the tensor is needed, and it counts neither in the gradient norm, clipping and SAM's ascent
   * nor in IRE's threshold. Its t, for Adam's bias correction and the first step of momentum, is `step - startStep`.
   * IRE enhances the tensor from the first refresh after its start.
   */
  readonly startStep?: number
}

/** Settings of one tensor at one step, with defaults filled in. */
export interface TensorPlan {
  /** The number of earlier updates of this tensor. */
  readonly t: number
  readonly lrScale: number
  readonly weightDecay: number
}

/** The tensors that a step trains, and their settings. */
interface StepPlan {
  /** Names of the tensors with `startStep <= step`. */
  readonly trained: readonly string[]
  /** Names of the trained tensors that IRE may enhance; their elements are the N of the threshold. */
  readonly enhanced: readonly string[]
  readonly of: (name: string) => TensorPlan
}

/**
 * Resolves the settings of all tensors at step `step`.
 * @param parameters the names of all tensors
 * @throws OnnxIreError `invalid-option` for a name that is not a parameter, and for a misspelt or out-of-range field
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
    const own = checkSettings(name, (Object.hasOwn(settings, name) && getOwn(settings, name)) || {})
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
