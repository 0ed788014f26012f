import { type FloatArray, mapArrays, zerosLike } from '../ir/float-array.js'
import { arrayOf, type ParameterArrays } from '../optim/arrays.js'
import type { FlatMask } from './mask.js'
import { layers, type Optimizer } from './optimizer.js'

/** What an optimizer remembers between steps: plain data, saved with `saveState` and read back with `loadState`. */
export interface OptimizerState {
  /** Updates done so far. */
  step: number
  /** By moment ('momentum'; 'firstMoment', 'secondMoment'), then by parameter, in the parameter's precision. */
  readonly moments: Readonly<Record<string, Readonly<Record<string, FloatArray>>>>
  /** IRE's mask; null without IRE and before the first refresh, where n = 0. */
  mask: FlatMask | null
}

/** The state before the first step: zero moments, no mask. */
export function initialState(optimizer: Optimizer, parameters: ParameterArrays): OptimizerState {
  const moments: Record<string, Record<string, FloatArray>> = {}
  for (const moment of layers(optimizer).base.moments) moments[moment] = mapArrays(parameters, zerosLike)
  return { step: 0, moments, mask: null }
}

/** A deep copy. */
export function cloneState({ step, moments, mask }: OptimizerState): OptimizerState {
  return {
    step,
    moments: mapArrays(moments, (moment) => mapArrays(moment, (array) => array.slice())),
    mask, // never written to, only replaced
  }
}

/**
 * The moments of an optimizer.
 * @throws 'invalid-data' when the state belongs to another optimizer or other parameters
 */
export function momentsOf(
  optimizer: Optimizer,
  parameters: ParameterArrays,
  state: OptimizerState,
): OptimizerState['moments'] {
  const moments: Record<string, ParameterArrays> = {}
  for (const moment of layers(optimizer).base.moments) {
    const arrays = state.moments[moment] ?? {}
    for (const [name, parameter] of Object.entries(parameters)) arrayOf(arrays, name, parameter.length, moment)
    moments[moment] = arrays
  }
  return moments
}
