import { type FloatArray, mapArrays, zerosLike } from '../ir/float-array.js'
import type { ParameterArrays } from '../optim/arrays.js'
import { OnnxIreError } from '../util/errors.js'
import type { FlatMask } from './mask.js'
import { layers, type Optimizer } from './optimizer.js'
import { initialState, type OptimizerState } from './state.js'

/** A state laid flat for a file: named arrays, and numbers that JSON holds exactly. */
export interface SavedState {
  /** '<moment>/<parameter>', 'flat/<parameter>' and, with `beta` > 0, 'curvature/<parameter>'. */
  readonly arrays: Readonly<Record<string, FloatArray | Uint8Array>>
  readonly numbers: {
    readonly step: number
    readonly mask: Pick<FlatMask, 'refreshedAt' | 'threshold' | 'flatShare' | 'zeroShare'> | null
  }
}

/** Lays a state flat. The arrays are the state's own, not copies: write them out before the next step. */
export function saveState({ step, moments, mask }: OptimizerState): SavedState {
  const arrays: Record<string, FloatArray | Uint8Array> = {}
  const put = (group: string, members: Readonly<Record<string, FloatArray | Uint8Array>>) => {
    for (const [name, array] of Object.entries(members)) arrays[`${group}/${name}`] = array
  }
  for (const [moment, members] of Object.entries(moments)) put(moment, members)
  if (!mask) return { arrays, numbers: { step, mask: null } }
  const { flat, curvature, ...numbers } = mask
  put('flat', flat)
  if (curvature) put('curvature', curvature)
  return { arrays, numbers: { step, mask: numbers } }
}

/**
 * The state that `saveState` laid flat, in arrays of its own; training goes on from it bit for bit.
 * @throws 'checkpoint' when something is missing, left over, of another length or precision, or not a number
 */
export function loadState(optimizer: Optimizer, parameters: ParameterArrays, saved: SavedState): OptimizerState {
  const { ire } = layers(optimizer)
  const left = new Map(Object.entries(saved.arrays))
  const take = <A extends FloatArray | Uint8Array>(group: string, name: string, into: A): A => {
    const key = `${group}/${name}`
    const array = left.get(key)
    const type = into.constructor.name
    if (array?.constructor.name !== type || array.length !== into.length)
      throw refuse(`'${key}' should be a ${type} of ${into.length} elements`, array)
    left.delete(key)
    into.set(array)
    return into
  }

  const { step, mask: numbers } = saved.numbers
  if (!Number.isSafeInteger(step) || step < 0) throw refuse('step should be an integer >= 0', step)
  const state = initialState(optimizer, parameters)
  state.step = step
  for (const [moment, arrays] of Object.entries(state.moments))
    for (const [name, array] of Object.entries(arrays)) take(moment, name, array)
  if (ire && numbers) {
    for (const key of ['refreshedAt', 'threshold', 'flatShare', 'zeroShare'] as const)
      if (!Number.isFinite(numbers[key])) throw refuse(`mask.${key} should be a number`, numbers[key])
    const flat = mapArrays(parameters, (array, name) => take('flat', name, new Uint8Array(array.length)))
    for (const [name, mask] of Object.entries(flat))
      if (mask.some((n) => n > 1)) throw refuse(`'flat/${name}' should hold 0 and 1 only`, 'something else')
    const curvature =
      ire.beta > 0 ? mapArrays(parameters, (array, name) => take('curvature', name, zerosLike(array))) : null
    const { refreshedAt, threshold, flatShare, zeroShare } = numbers
    state.mask = { flat, curvature, refreshedAt, threshold, flatShare, zeroShare }
  }
  const extra = left.keys().next()
  if (!extra.done) throw refuse('there is no place', `'${extra.value}'`, 'for')
  return state
}

function refuse(wanted: string, got: unknown, joint = 'but it is'): OnnxIreError {
  const shown =
    got instanceof Object && 'length' in got ? `a ${got.constructor.name} of ${got.length}` : (got ?? 'missing')
  return new OnnxIreError(
    'checkpoint',
    `optimizer state: ${wanted} ${joint} ${shown}; resume with the optimizer and the parameters that saved it`,
  )
}
