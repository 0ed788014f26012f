import { OnnxIreError } from '../../util/errors.js'
import { partsOf, type Slot } from './slots.js'
import type { Fault, Stage } from './state.js'

/** What a stage looked at, for messages. */
export interface Looked {
  readonly place: string
  /** 'loss gradient' */
  readonly what: string
  /** In the order of their parts. */
  readonly slots: readonly Slot[]
}

/** The 'not-finite' error of a fault, by the stages of its step. */
export function faultError(fault: Fault, stages: ReadonlyMap<Stage, Looked>): OnnxIreError {
  const { place, what, slots } = stages.get(fault.stage)!
  let part = fault.part
  let at = 0
  for (; part >= partsOf(slots[at]!.count); at++) part -= partsOf(slots[at]!.count)
  const { name, count } = slots[at]!
  return new OnnxIreError(
    'not-finite',
    `${place}: the ${what} of '${name}' is ${fault.value} at element ${fault.element} of ${count}; ` +
      'lower the learning rate, clip the gradient, or look for bad values in the data; the parameters are unchanged',
  )
}
