import type { BaseOptimizer } from './base-optimizer.js'
import type { IreOptimizer } from './ire/ire.js'
import type { SamOptimizer } from './sam.js'

/** What a training step follows: `sgd()`, `sam(sgd())`, `ire(sgd(), ...)`, `ire(sam(sgd()), ...)`. Immutable. */
export type Optimizer = BaseOptimizer | SamOptimizer | IreOptimizer

/** The layers of an optimizer, from the outside in; `null` where there is none. */
export interface Layers {
  readonly base: BaseOptimizer
  readonly sam: SamOptimizer | null
  readonly ire: IreOptimizer | null
}

/** Takes an optimizer apart. */
export function unwrap(optimizer: Optimizer): Layers {
  const ire = optimizer.kind === 'ire' ? optimizer : null
  const inner = optimizer.kind === 'ire' ? optimizer.inner : optimizer
  return inner.kind === 'sam' ? { base: inner.base, sam: inner, ire } : { base: inner, sam: null, ire }
}

/** An optimizer's options as plain data, every default filled in: for logs, and to compare a checkpoint's with a run's. */
export function describeOptimizer(optimizer: Optimizer): Readonly<Record<string, unknown>> {
  const { base, sam, ire } = unwrap(optimizer)
  const { kind: _, inner: __, ...ireOptions } = ire ?? { kind: 'ire', inner: base }
  return {
    base: { name: base.name, ...base.options },
    sam: sam && { rho: sam.rho, adaptive: sam.adaptive },
    ire: ire && ireOptions,
  }
}
