import { invalidOption } from '../util/check.js'
import type { BaseOptimizer } from './base-optimizer.js'
import type { IreOptimizer } from './ire/ire.js'
import { describeSam, type SamOptimizer } from './sam.js'

/** An optimizer: `sgd()`, `sam(sgd())`, `ire(sgd(), ...)` or `ire(sam(sgd()), ...)`. Immutable. */
export type Optimizer = BaseOptimizer | SamOptimizer | IreOptimizer

/** The layers of an optimizer; null for a layer that it does not have. */
export interface Layers {
  readonly base: BaseOptimizer
  readonly sam: SamOptimizer | null
  readonly ire: IreOptimizer | null
}

/** Throws `invalid-option` for an option 'optimizer' that is not an optimizer. */
export function checkOptimizer(owner: string, optimizer: Optimizer | undefined): void {
  if (!['base', 'sam', 'ire'].includes(optimizer?.kind ?? ''))
    throw invalidOption(owner, 'optimizer', optimizer, 'an optimizer such as adamw(), or ire(adamw(), ...)')
}

/** Splits an optimizer into its layers. */
export function unwrap(optimizer: Optimizer): Layers {
  const ire = optimizer.kind === 'ire' ? optimizer : null
  const inner = optimizer.kind === 'ire' ? optimizer.inner : optimizer
  return inner.kind === 'sam' ? { base: inner.base, sam: inner, ire } : { base: inner, sam: null, ire }
}

/**
 * Returns an optimizer's options as plain data with defaults filled in, for logs and for comparisons with a checkpoint.
 */
export function describeOptimizer(optimizer: Optimizer): Readonly<Record<string, unknown>> {
  const { base, sam, ire } = unwrap(optimizer)
  const { kind: _, inner: __, ...ireOptions } = ire ?? { kind: 'ire', inner: base }
  return {
    base: { name: base.name, ...base.options },
    sam: sam && describeSam(sam),
    ire: ire && ireOptions,
  }
}
