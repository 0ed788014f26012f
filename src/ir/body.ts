import type { Body, Scope, Value } from './value.js'

let current: Scope | undefined

/** The body that nodes are being made for; undefined in the main graph. */
export const currentScope = (): Scope | undefined => current

/**
 * A body for If, Loop or Scan: whatever nodes `build` makes while it runs stand in it, and values from outside are captured
 * by reference. The inputs are made with `input`; the branches of If have none.
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
