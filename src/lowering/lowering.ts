import type { Value } from '../ir/value.js'
import type { Expansion } from '../op/compose/expansion.js'
import type { AttributesOf, Definition, PerSlot, Slots } from '../op/define.js'

/** What a lowering is told of its node beside inputs and attributes. */
export interface Asked {
  /** Whether anything reads this output. */
  wants(output: number): boolean
  /** How many outputs the node has: Split may have any number. */
  readonly outputs: number
}

/**
 * The same result in operators that a provider runs; null where it runs this node as it is. It may use operators that are
 * lowered in turn. Where ONNX gives int64, int32 may be given: see `Lowerer`.
 */
export type Lowering<D> =
  D extends Definition<infer I, Slots, infer A>
    ? (inputs: PerSlot<I, Value>, attributes: AttributesOf<A>, asked: Asked) => ReturnType<Expansion<D>> | null
    : never

/** Lowerings for (some of) a family of operators. */
export type Lowerings<Family> = { readonly [K in keyof Family]?: Lowering<Family[K]> }

/** A lowering as the walk sees it: the shapes of the tuples no longer tracked. */
export type AnyLowering = (
  inputs: readonly (Value | null)[],
  attributes: unknown,
  asked: Asked,
) => Value | readonly Value[] | null

/** What a provider does not run as it is. */
export interface Target {
  readonly lowerings: Readonly<Record<string, AnyLowering | undefined>>
  /** More of them, for graphs in which an operator needs a newer operator set than the kernels of another are made for. */
  readonly older: Readonly<Record<string, AnyLowering | undefined>>
  /** The last operator set in which an operator has a kernel, where that is not the newest. */
  readonly until: Readonly<Record<string, number | undefined>>
  /**
   * Where int64 is for shapes only, and all else is computed in int32: the numbers, as int32, among which an int64 tensor counts
   * places; null where it is something else.
   */
  readonly countedIn?: (value: Value) => Value | null
}
