import { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'

/** A sequence of tensors while a model is imported: its elements are known one by one, and no node ever holds it. */
export class Sequence extends Value {
  readonly elements: readonly Value[]

  constructor(elements: readonly Value[]) {
    super({ dtype: elements[0]?.dtype ?? 'float32', shape: undefined }, { kind: 'input' })
    this.elements = elements
  }
}

/** Why a sequence cannot go where it would: bodies, outputs and most operators take tensors only. */
export const noSequence = (place: string): OnnxIreError =>
  new OnnxIreError(
    'unsupported-operator',
    `${place} a sequence of tensors; only sequences that are made and taken apart at known positions are supported (SplitToSequence, SequenceAt, ConcatFromSequence ...): export the model with Split and Concat instead`,
  )
