import type { Node, Value } from '../ir/value.js'
import type { AnyExpansion, PerOutput } from '../op/compose/expansion.js'
import type { AttributeSpecs, AttributesOf, Definition, PerSlot, Slots } from '../op/define.js'

type Incoming<O extends Slots> = O extends readonly [infer Only]
  ? Only extends `...${string}`
    ? readonly (Value | null)[]
    : Value
  : PerSlot<O, Value | null, never>

/** Outputs and attributes of the node that a rule differentiates. */
export interface Forward<O extends Slots, A extends AttributeSpecs> {
  /** Output of the operator, or its outputs if it has several. */
  readonly y: PerOutput<O, Value>
  readonly attributes: AttributesOf<A>
}

/**
 * Gradient rule of one operator: maps its inputs and the gradient `dy` of its output to one gradient per input,
 * `null` if no gradient flows to that input. For an operator with several outputs `dy` is a list, with `null` for
 * unused outputs. Rules neither sum broadcast axes nor test which gradients are needed: the walk sums, and unused
 * nodes are never written.
 */
export type Rule<D> =
  D extends Definition<infer I, infer O, infer A>
    ? (inputs: PerSlot<I, Value>, dy: Incoming<O>, forward: Forward<O, A>) => PerSlot<I, Value | null>
    : never

/**
 * Names of the operators of `Family` that are not in `Covered` and whose definition gives no reason for lacking a
 * gradient.
 */
export type WithoutGradient<Family, Covered extends PropertyKey> = {
  [K in keyof Family]: Family[K] extends { readonly gradient: undefined } ? (K extends Covered ? never : K) : never
}[keyof Family]

/** Rules of some operators of a family, by operator name. */
export type Rules<Family> = { readonly [K in keyof Family]?: Rule<Family[K]> }

/**
 * Differentiates values that a rule creates, with respect to `wrt`. It stops at the operands of the node and never
 * leaves the body in which it is called.
 */
export type Differentiate = (
  seeds: readonly (readonly [y: Value, dy: Value])[],
  wrt: readonly Value[],
) => (Value | null)[]

/**
 * Gradient rule of an operator with bodies, which also reads captured values: maps the gradients of its outputs to
 * one gradient for each of `wrt`, the inputs and captured values whose gradients are needed.
 */
export type ControlRule = (
  node: Node,
  dy: readonly (Value | null)[],
  wrt: readonly Value[],
  differentiate: Differentiate,
) => readonly (Value | null)[]

export type ControlRules<Family> = { readonly [K in keyof Family]?: ControlRule }

/**
 * Rules, expansions and rules of operators with bodies, by operator name, with the types of single operators erased.
 */
export interface GradientTables {
  readonly rules: Readonly<Record<string, AnyRule | undefined>>
  readonly expansions: Readonly<Record<string, AnyExpansion | undefined>>
  readonly control: Readonly<Record<string, ControlRule | undefined>>
}
type AnyRule = (
  inputs: readonly (Value | null)[],
  dy: Value | readonly (Value | null)[],
  forward: { y: Value | readonly Value[]; attributes: unknown },
) => readonly (Value | null)[]
