import type { DType } from './dtype.js'
import type { Dim, Shape } from './shape.js'
import type { Tensor } from './tensor.js'

/** What an attribute may hold; bodies of If, Loop and Scan are graphs. */
export type Attribute = number | string | Tensor | Body | readonly number[] | readonly string[] | readonly Body[]
export type Attributes = Readonly<Record<string, Attribute | undefined>>

/** What is known of a tensor before it is computed. `shape` is undefined when even the number of axes is unknown. */
export interface TensorType {
  readonly dtype: DType
  readonly shape: Shape | undefined
}

/**
 * The start of a graph: an input fed at every run, a constant, or a parameter: a named tensor that stays constant unless
 * somebody varies it, in which case the encoder writes it as an input.
 */
export type Leaf =
  | { readonly kind: 'input' }
  | { readonly kind: 'parameter'; readonly tensor: Tensor }
  | { readonly kind: 'constant'; readonly tensor: Tensor }

/** One application of an operator. */
export interface Node {
  readonly kind: 'node'
  readonly operator: string
  /** '' is ai.onnx. */
  readonly domain: string
  /** The lowest version of its domain's operator set in which the operator has this form. */
  readonly since: number
  readonly inputs: readonly (Value | null)[]
  readonly attributes: Attributes
  readonly outputs: readonly Value[]
  /** The name an imported model gave it. */
  readonly name: string | undefined
  /** The body this node stands in; undefined in the main graph. */
  readonly scope: Scope | undefined
}

/** The identity of a body of control flow: nodes made for it carry it, values from outside are captured by reference. */
export interface Scope {
  readonly outer: Scope | undefined
}

/** A graph inside of a node: a branch of an If, the round of a Loop or Scan. */
export interface Body {
  readonly kind: 'body'
  readonly scope: Scope
  readonly inputs: readonly Value[]
  readonly outputs: readonly Value[]
}

/** An immutable tensor of a graph, pointing at what produces it. Made by `op`, `input`, `parameter` and `constant`. */
export class Value implements TensorType {
  readonly dtype: DType
  readonly shape: Shape | undefined
  readonly source: Leaf | Node
  /** Which of the source's outputs this is. */
  readonly index: number
  /** For people and for the file; unique names are given by the encoder. */
  readonly name: string | undefined
  /** The elements of a small numeric tensor, as far as they are known before running: shape arithmetic. Row-major. */
  readonly contents: readonly Dim[] | undefined

  constructor(type: TensorType, source: Leaf | Node, index = 0, name?: string, contents?: readonly Dim[]) {
    this.dtype = type.dtype
    this.shape = type.shape
    this.source = source
    this.index = index
    this.name = name
    this.contents = contents
  }
}

/** Names an imported value: once, before anybody else sees it. */
export function nameValue(value: Value, name: string): void {
  if (value.name === undefined) (value as { name: string | undefined }).name = name
}

/** Moves a node out of the body it was made in: before anybody else sees it. */
export function placeNode(node: Node, scope: Scope | undefined): void {
  ;(node as { scope: Scope | undefined }).scope = scope
}

/** Records what a file declares of an imported value's shape: once, before anybody else sees it. */
export function refineShape(value: Value, shape: Shape | undefined): void {
  ;(value as { shape: Shape | undefined }).shape = shape
}

/** A model or part of one: what goes in, what may be varied, what comes out, by name. */
export interface Graph {
  readonly name: string
  readonly inputs: ReadonlyMap<string, Value>
  readonly parameters: ReadonlyMap<string, Value>
  readonly outputs: ReadonlyMap<string, Value>
}
