import type { Value } from '../../ir/value.js'
import type { AttributesOf, Definition, PerSlot, Slots } from '../define.js'

/** A value per output: a single value for one output, a tuple for several, a list for variadic outputs. */
export type PerOutput<O extends Slots, T> = O extends readonly [infer Only]
  ? Only extends `...${string}`
    ? readonly T[]
    : T
  : PerSlot<O, T, never>

/**
 * An operator as a composition of simpler ones, like ONNX's function bodies. Its gradient is that of the composition.
 */
export type Expansion<D> =
  D extends Definition<infer I, infer O, infer A>
    ? (inputs: PerSlot<I, Value>, attributes: AttributesOf<A>) => PerOutput<O, Value>
    : never

/** Expansions of some operators of a family, by name. */
export type Expansions<Family> = { readonly [K in keyof Family]?: Expansion<Family[K]> }

/** An expansion of any operator: the types of the single definition are erased. */
export type AnyExpansion = (inputs: readonly (Value | null)[], attributes: unknown) => Value | readonly Value[]
