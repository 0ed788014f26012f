import type { Node, Value } from '../ir/value.js'
import type { AnyExpansion, PerOutput } from '../op/compose/expansion.js'
import type { AttributeSpecs, AttributesOf, Definition, PerSlot, Slots } from '../op/define.js'

type Incoming<O extends Slots> = O extends readonly [infer Only]
  ? Only extends `...${string}`
    ? readonly (Value | null)[]
    : Value
  : PerSlot<O, Value | null, never>

/** What a rule may use besides inputs and incoming gradient. */
export interface Forward<O extends Slots, A extends AttributeSpecs> {
  /** The operator's own output, or its outputs when it has several. */
  readonly y: PerOutput<O, Value>
  readonly attributes: AttributesOf<A>
}

/**
 * The derivative of one operator: from its inputs and the gradient `dy` of its output to one gradient per input; `null`
 * says that no gradient flows there. Where an operator has several outputs, `dy` is a list with `null` for those that
 * nothing depends on. Rules neither sum broadcast axes nor ask what is needed: the walk does, and what nobody uses is never written.
 */
export type Rule<D> =
  D extends Definition<infer I, infer O, infer A>
    ? (inputs: PerSlot<I, Value>, dy: Incoming<O>, forward: Forward<O, A>) => PerSlot<I, Value | null>
    : never

/** Names of the operators of `Family` that are not in `Covered` and whose definition gives no reason for lacking a gradient. */
export type WithoutGradient<Family, Covered extends PropertyKey> = {
  [K in keyof Family]: Family[K] extends { readonly gradient: undefined } ? (K extends Covered ? never : K) : never
}[keyof Family]

/** Rules for (some of) a family of operators. */
export type Rules<Family> = { readonly [K in keyof Family]?: Rule<Family[K]> }

/**
 * Gradients of values that are made where the rule is asked, down to `wrt`; it goes no further back than what the node
 * itself reads, and not out of the body it is called in.
 */
export type Differentiate = (
  seeds: readonly (readonly [y: Value, dy: Value])[],
  wrt: readonly Value[],
) => (Value | null)[]

/**
 * The derivative of an operator with bodies, which may read more than its inputs: from the gradients of its outputs to one
 * gradient for each of `wrt`, the inputs and captured values that are asked for.
 */
export type ControlRule = (
  node: Node,
  dy: readonly (Value | null)[],
  wrt: readonly Value[],
  differentiate: Differentiate,
) => readonly (Value | null)[]

export type ControlRules<Family> = { readonly [K in keyof Family]?: ControlRule }

/** Tables as the walk reads them: names erased to strings, shapes of the tuples no longer tracked. */
export interface GradientTables {
  readonly rules: Readonly<Record<string, AnyRule | undefined>>
  readonly expansions: Readonly<Record<string, AnyExpansion | undefined>>
  readonly control: Readonly<Record<string, ControlRule | undefined>>
}
export type AnyRule = (
  inputs: readonly (Value | null)[],
  dy: Value | readonly (Value | null)[],
  forward: { y: Value | readonly Value[]; attributes: unknown },
) => readonly (Value | null)[]
