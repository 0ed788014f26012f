import type { Value } from '../../ir/value.js'
import type { AttributesOf, Definition, PerSlot, Slots } from '../define.js'

export type PerOutput<O extends Slots, T> = O extends readonly [infer Only]
  ? Only extends `...${string}`
    ? readonly T[]
    : T
  : PerSlot<O, T, never>

/** A composite operator written in simpler ones, as ONNX's own function bodies are; differentiated by differentiating those. */
export type Expansion<D> =
  D extends Definition<infer I, infer O, infer A>
    ? (inputs: PerSlot<I, Value>, attributes: AttributesOf<A>) => PerOutput<O, Value>
    : never

export type Expansions<Family> = { readonly [K in keyof Family]?: Expansion<Family[K]> }

export type AnyExpansion = (inputs: readonly (Value | null)[], attributes: unknown) => Value | readonly Value[]
