import type { Body, Scope, Value } from './value.js'

let current: Scope | undefined

/** The scope in which nodes are created; undefined in the main graph. */
export const currentScope = (): Scope | undefined => current

/**
 * Creates a body for If, Loop or Scan. All nodes that `build` creates belong to the body; values from outside are
 * captured by reference. The inputs are created with `input`; the branches of If have none.
 *
 * @example
 * ```ts
 * const total = input('total', 'float32', [])
 * const x = input('x', 'float32', [])
 * const sum = body([total, x], (total, x) => [op.Add(total, x)])
 * ```
 */
export function body(inputs: readonly Value[], build: (...inputs: Value[]) => readonly Value[]): Body {
  const outer = current
  const scope: Scope = { outer }
  current = scope
  try {
    return { kind: 'body', scope, inputs, outputs: build(...inputs) }
  } finally {
    current = outer
  }
}
