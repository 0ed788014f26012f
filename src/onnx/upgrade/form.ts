import type { Attribute, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import type { OldNode, Upgrade } from './upgrade.js'

/** A node that is rewritten, read with checks: models are not to be trusted. */
export class Reading {
  readonly outputCount: number
  readonly #inputs: readonly (Value | null)[]
  readonly #attributes: Readonly<Record<string, Attribute>>

  constructor(node: OldNode) {
    this.#inputs = node.inputs
    this.#attributes = node.attributes
    this.outputCount = node.outputCount
  }

  /** The operand in place `index`. */
  operand(index: number): Value {
    const value = this.#inputs[index]
    if (!value) throw new OnnxIreError('invalid-model', `needs its input number ${index}`)
    return value
  }

  optional(index: number): Value | null {
    return this.#inputs[index] ?? null
  }

  number(name: string): number | undefined
  number(name: string, otherwise: number): number
  number(name: string, otherwise?: number): number | undefined {
    return this.#typed(name, (value) => typeof value === 'number', 'a number') ?? otherwise
  }

  /** A number of heads or the like: positive, and always given. */
  count(name: string): number {
    const value = this.number(name, 0)
    if (!Number.isInteger(value) || value < 1)
      throw new OnnxIreError('invalid-model', `needs its attribute '${name}', a positive number`)
    return value
  }

  text(name: string): string {
    return this.#typed(name, (value) => typeof value === 'string', 'text') ?? ''
  }

  numbers(name: string): readonly number[] | undefined {
    const list = (value: Attribute): value is readonly number[] =>
      Array.isArray(value) && value.every((item) => typeof item === 'number')
    return this.#typed(name, list, 'a list of numbers')
  }

  /** Those attributes that are there, as they are. */
  attributesOf(...names: readonly string[]): Record<string, Attribute> {
    return Object.fromEntries(Object.entries(this.#attributes).filter(([name]) => names.includes(name)))
  }

  #typed<T extends Attribute>(name: string, holds: (value: Attribute) => value is T, what: string): T | undefined {
    const value = this.#attributes[name]
    if (value === undefined || holds(value)) return value
    throw new OnnxIreError('invalid-model', `its attribute '${name}' is not ${what}`)
  }
}

export const unsupported = (what: string): OnnxIreError =>
  new OnnxIreError('unsupported-operator', `${what}; export the model without it`)

/** An operator with the attributes it may carry; one that this library has not read may change what the operator computes. */
export const form =
  (attributes: readonly string[], rewrite: (node: Reading) => readonly (Value | null)[]): Upgrade =>
  (node) => {
    const unknown = Object.keys(node.attributes).find((name) => !attributes.includes(name))
    if (unknown !== undefined) throw unsupported(`its attribute '${unknown}' is not known here`)
    // A result that is not offered is missed only when a node asks for it.
    return rewrite(new Reading(node)) as readonly Value[]
  }
