import type { Value } from '../ir/value.js'
import type { Expansion } from '../op/compose/expansion.js'
import type { AttributesOf, Definition, PerSlot, Slots } from '../op/define.js'
import type { Provider } from '../runtime/runtime.js'

/** Properties of a node that a lowering may read in addition to inputs and attributes. */
export interface LoweringContext {
  /** Whether any node, or the caller of the graph, reads output number `output`. */
  isUsed(output: number): boolean
  /** Number of outputs of the node: variable for Split. */
  readonly outputCount: number
}

/**
 * Rewrites one node in operators that a provider runs; returns null if the provider runs the node as it is. The result
 * may use operators that are lowered in turn. It may be int32 where ONNX specifies int64: see `lower`.
 */
type Lowering<D> =
  D extends Definition<infer I, Slots, infer A>
    ? (
        inputs: PerSlot<I, Value>,
        attributes: AttributesOf<A>,
        context: LoweringContext,
      ) => ReturnType<Expansion<D>> | null
    : never

/** Lowerings of some operators of a family, by name. */
export type Lowerings<Family> = { readonly [K in keyof Family]?: Lowering<Family[K]> }

/** A lowering of any operator: the types of the single definition are erased. */
export type AnyLowering = (
  inputs: readonly (Value | null)[],
  attributes: unknown,
  context: LoweringContext,
) => Value | readonly Value[] | null

/** Lowerings and type restrictions of a provider. */
export interface Target {
  readonly provider: Provider
  readonly lowerings: Readonly<Record<string, AnyLowering | undefined>>
  /**
   * Additional lowerings, for graphs with an operator that needs a newer operator set than other operators have kernels
   * for.
   */
  readonly downlevel: Readonly<Record<string, AnyLowering | undefined>>
  /**
   * Present if the provider computes in int32 instead of int64, except for shapes. If `value` is an int64 index: its
   * valid range 0, 1, 2 ... as int32; else null.
   */
  readonly indexRange?: (value: Value) => Value | null
}
