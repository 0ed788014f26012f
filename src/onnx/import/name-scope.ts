import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * Values by name in a graph. A body can read the names of its outer graphs. `null` is an omitted input of a function.
 */
export class NameScope {
  readonly #values = new Map<string, Value | null>()
  readonly #outer: NameScope | undefined

  constructor(outer?: NameScope) {
    this.#outer = outer
  }

  get(name: string): Value | null | undefined {
    const own = this.#values.get(name)
    return own === undefined ? this.#outer?.get(name) : own
  }

  set(name: string, value: Value | null): void {
    if (this.#values.has(name))
      throw new OnnxIreError('invalid-model', `two tensors are named '${name}'; names must be unique in a graph`)
    this.#values.set(name, value)
  }
}

/** The value of a node's input. Throws `invalid-model` if no value has the name. */
export function lookUp(names: NameScope, name: string, operator: string, label: string): Value | null {
  const value = names.get(name)
  if (value !== undefined) return value
  throw new OnnxIreError(
    'invalid-model',
    `${operator} '${label}' reads '${name}', which is not an input, an initializer or an output of a node`,
  )
}
