import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * Values by name in one graph; a body sees the names of the graphs around it. `null` is an input that the caller of a
 * function left out.
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

/** What a node reads. Throws `invalid-model` when nothing has that name. */
export function lookUp(names: NameScope, name: string, operator: string, label: string): Value | null {
  const value = names.get(name)
  if (value !== undefined) return value
  throw new OnnxIreError(
    'invalid-model',
    `${operator} '${label}' reads '${name}', which is neither an input, an initializer nor the output of a node`,
  )
}
