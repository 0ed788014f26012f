import { type FloatArray, mapArrays, zeroArrayLike } from '../ir/float-array.js'
import { OnnxIreError } from '../util/errors.js'
import { emptyRecord, getOwn } from '../util/record.js'
import { arrayOf, type MomentArray, type ParameterArrays } from './arrays.js'
import { type BaseOptimizer, createMoment, createRules, type Rules } from './base-optimizer.js'
import type { FlatMask } from './ire/mask.js'
import { type Layers, type Optimizer, unwrap } from './optimizer.js'
import { samMoment } from './sam.js'
import { holdsAll, type Shard } from './shard.js'

/** State of an optimizer between steps: plain data, saved with `saveState` and loaded with `loadState`. */
export interface OptimizerState {
  /** Number of updates so far. */
  step: number
  /** Arrays by moment ('momentum'; 'firstMoment', 'secondMoment'), then by parameter. */
  readonly moments: Readonly<Record<string, Readonly<Record<string, MomentArray>>>>
  /** IRE's mask; null without IRE and before the first refresh (n = 0). */
  mask: FlatMask | null
  /** The current numbers of the base optimizer's `estimate`, if it has one. */
  estimate?: Readonly<Record<string, number>>
}

/**
 * Creates the state before the first step: zero moments, no mask.
 * @param rules the rules of the tensors, for an optimizer that treats tensors by shape
 * @param holds the arrays that this process stores; default all
 * @throws OnnxIreError `invalid-option` for a moment with the name of an array of IRE or SAM
 */
export function initialState(
  optimizer: Optimizer,
  parameters: ParameterArrays,
  rules: Rules = createRules(unwrap(optimizer).base),
  holds: (array: string, name: string) => boolean = holdsAll,
): OptimizerState {
  const { base, sam, ire } = unwrap(optimizer)
  const own = sam && samMoment(sam)
  const taken = [own, ...(ire ? ['flat'] : []), ...(ire && ire.beta > 0 ? ['curvature'] : [])]
  const moments: Record<string, Record<string, MomentArray>> = emptyRecord()
  for (const [name, parameter] of Object.entries(parameters))
    for (const moment of rules(name).moments) {
      if (taken.includes(moment))
        throw new OnnxIreError(
          'invalid-option',
          `optimizer '${base.name}': a moment is named '${moment}', as an array of ${moment === own ? 'SAM' : 'IRE'}; choose another name`,
        )
      if (!holds(moment, name)) continue
      const arrays = getOwn(moments, moment) ?? emptyRecord<MomentArray>()
      arrays[name] = createMoment(rules(name), moment, parameter)
      moments[moment] = arrays
    }
  if (own) moments[own] = mapArrays(parameters, zeroArrayLike)
  const { estimate } = base
  return { step: 0, moments, mask: null, ...(estimate ? { estimate: estimate.initial } : {}) }
}

/** Copies a state. */
export function cloneState({ step, moments, mask, estimate }: OptimizerState): OptimizerState {
  return {
    step,
    moments: mapArrays(moments, (moment) => mapArrays(moment, (array) => array.slice())),
    mask, // immutable
    ...(estimate ? { estimate } : {}),
  }
}

/**
 * Returns the moments of an optimizer, with that of SAM if its variant has one.
 * @param holds the arrays that this process stores; default all
 * @throws OnnxIreError `invalid-data` if the state belongs to another optimizer or other parameters
 */
export function momentsOf(
  { sam }: Layers,
  rules: Rules,
  parameters: ParameterArrays,
  state: OptimizerState,
  holds: Shard['holds'] = holdsAll,
): OptimizerState['moments'] {
  const own = sam && samMoment(sam)
  const moments: Record<string, Readonly<Record<string, MomentArray>>> = emptyRecord()
  for (const [name, parameter] of Object.entries(parameters))
    for (const moment of [...rules(name).moments, ...(own ? [own] : [])]) {
      if (!holds(moment, name)) continue
      const arrays = getOwn(state.moments, moment) ?? {}
      const expected = createMoment(rules(name), moment, parameter)
      if (expected instanceof Uint8Array) {
        if (!(getOwn(arrays, name) instanceof Uint8Array) || arrays[name]!.length !== expected.length)
          throw new OnnxIreError('invalid-data', `the ${moment} of '${name}' must be ${expected.length} bytes`)
      } else arrayOf(arrays as ParameterArrays, name, expected.length, moment)
      moments[moment] = arrays
    }
  return moments
}

/**
 * Returns the weights at which an optimizer is evaluated and exported: the parameters themselves, or new arrays for an
 * optimizer with `evaluation`.
 */
export function evaluatedWeights(
  { evaluation }: Pick<BaseOptimizer, 'evaluation'>,
  parameters: ParameterArrays,
  moments: OptimizerState['moments'],
): ParameterArrays {
  if (!evaluation) return parameters
  return mapArrays(parameters, (array, name) => {
    const weights = array.slice()
    for (const [moment, factor] of Object.entries(evaluation)) {
      const own = arrayOf((getOwn(moments, moment) ?? {}) as ParameterArrays, name, array.length, moment)
      for (let i = 0; i < weights.length; i++) weights[i]! += factor * own[i]!
    }
    return weights
  })
}

/** A state as named arrays and JSON numbers, for a file. */
export interface SavedState {
  /** '<moment>/<parameter>', 'flat/<parameter>' and, with `beta` > 0, 'curvature/<parameter>'. */
  readonly arrays: Readonly<Record<string, FloatArray | Uint8Array>>
  readonly numbers: {
    readonly step: number
    readonly mask: Pick<FlatMask, 'refreshedAt' | 'threshold' | 'flatShare' | 'zeroShare'> | null
    readonly estimate?: Readonly<Record<string, number>>
  }
}

/** Converts a state to named arrays and numbers. The arrays are not copied: write them before the next step. */
export function saveState({ step, moments, mask, estimate }: OptimizerState): SavedState {
  const arrays: Record<string, FloatArray | Uint8Array> = emptyRecord()
  const put = (group: string, members: Readonly<Record<string, FloatArray | Uint8Array>>) => {
    for (const [name, array] of Object.entries(members)) arrays[`${group}/${name}`] = array
  }
  for (const [moment, members] of Object.entries(moments)) put(moment, members)
  const own = estimate ? { estimate } : {}
  if (!mask) return { arrays, numbers: { step, mask: null, ...own } }
  const { flat, curvature, ...numbers } = mask
  put('flat', flat)
  if (curvature) put('curvature', curvature)
  return { arrays, numbers: { step, mask: numbers, ...own } }
}

/**
 * Restores a state of `saveState`, in new arrays. Training continues bit for bit.
 * @param rules as those of `initialState`
 * @param holds the arrays that this process stores; the others of `saved` are ignored. Default all
 * @throws OnnxIreError `checkpoint` if an array or number is missing, unexpected, of another length or precision, or
 * NaN
 */
export function loadState(
  optimizer: Optimizer,
  parameters: ParameterArrays,
  saved: SavedState,
  rules?: Rules,
  holds: (array: string, name: string) => boolean = holdsAll,
): OptimizerState {
  const { ire } = unwrap(optimizer)
  const left = new Map(Object.entries(saved.arrays).filter(([key]) => holds(...splitKey(key))))
  const take = <A extends FloatArray | Uint8Array>(group: string, name: string, into: A): A => {
    const key = `${group}/${name}`
    const array = left.get(key)
    const type = into.constructor.name
    if (array?.constructor.name !== type || array.length !== into.length)
      throw stateError(`'${key}' should be a ${type} of ${into.length} elements`, array)
    left.delete(key)
    into.set(array)
    return into
  }

  const { step, mask: numbers, estimate } = saved.numbers
  if (!Number.isSafeInteger(step) || step < 0) throw stateError('step should be an integer >= 0', step)
  const state = initialState(optimizer, parameters, rules, holds)
  state.step = step
  if (state.estimate) {
    for (const name of Object.keys(state.estimate)) {
      const value = getOwn(estimate, name)
      if (!Number.isFinite(value)) throw stateError(`estimate.${name} should be a number`, value)
    }
    state.estimate = { ...estimate }
  }
  for (const [moment, arrays] of Object.entries(state.moments))
    for (const [name, array] of Object.entries(arrays)) take(moment, name, array)
  if (ire && numbers) {
    for (const key of ['refreshedAt', 'threshold', 'flatShare', 'zeroShare'] as const)
      if (!Number.isFinite(numbers[key])) throw stateError(`mask.${key} should be a number`, numbers[key])
    const held = Object.fromEntries(Object.entries(parameters).filter(([name]) => holds('flat', name)))
    const flat = mapArrays(held, (array, name) => take('flat', name, new Uint8Array(array.length)))
    for (const [name, mask] of Object.entries(flat))
      if (mask.some((n) => n > 1)) throw stateError(`'flat/${name}' should contain 0 and 1 only`, 'something else')
    const curvature =
      ire.beta > 0 ? mapArrays(held, (array, name) => take('curvature', name, zeroArrayLike(array))) : null
    const { refreshedAt, threshold, flatShare, zeroShare } = numbers
    state.mask = { flat, curvature, refreshedAt, threshold, flatShare, zeroShare }
  }
  const extra = left.keys().next()
  if (!extra.done) throw stateError('there should be no array', `'${extra.value}'`, 'but there is')
  return state
}

/** Splits the key of an array into its group and the name of the parameter, which may contain a slash. */
function splitKey(key: string): [group: string, name: string] {
  const end = key.indexOf('/')
  return [key.slice(0, end), key.slice(end + 1)]
}

function stateError(expectation: string, got: unknown, joint = 'but it is'): OnnxIreError {
  const shown =
    got instanceof Object && 'length' in got ? `a ${got.constructor.name} of ${got.length}` : (got ?? 'missing')
  return new OnnxIreError(
    'checkpoint',
    `optimizer state: ${expectation} ${joint} ${shown}; resume with the optimizer and the parameters that saved it`,
  )
}
