import type { DType } from './dtype.js'
import type { Dim, Shape } from './shape.js'
import type { Tensor } from './tensor.js'

/** The value of an attribute. The bodies of If, Loop and Scan are attributes too. */
export type Attribute = number | string | Tensor | Body | readonly number[] | readonly string[] | readonly Body[]
export type Attributes = Readonly<Record<string, Attribute | undefined>>

/** The type of a tensor, known before it is computed. `shape` is undefined if the rank is unknown. */
export interface TensorType {
  readonly dtype: DType
  readonly shape: Shape | undefined
}

/**
 * A value that no node computes: an input, which is fed at every run; a constant; or a parameter, a named tensor that
 * can be trained. A parameter is exported as an initializer, or as an input if the exported graph lists it as one.
 */
type Leaf =
  | { readonly kind: 'input' }
  | { readonly kind: 'parameter'; readonly tensor: Tensor }
  | { readonly kind: 'constant'; readonly tensor: Tensor }

/** One application of an operator. */
export interface Node {
  readonly kind: 'node'
  readonly operator: string
  /** '' is ai.onnx. */
  readonly domain: string
  /** The lowest version of the domain's operator set in which the operator has this form. */
  readonly since: number
  readonly inputs: readonly (Value | null)[]
  readonly attributes: Attributes
  readonly outputs: readonly Value[]
  /** The name of the node in the imported model, if any. */
  readonly name: string | undefined
  /** The body that contains the node; undefined in the main graph. */
  readonly scope: Scope | undefined
  /** Whether gradients take the results as constants, as PyTorch's `detach`. */
  readonly isDetached?: true
}

/** The identity of a body: its nodes refer to it. */
export interface Scope {
  readonly outer: Scope | undefined
}

/** A graph inside a node: a branch of an If, or one iteration of a Loop or Scan. */
export interface Body {
  readonly kind: 'body'
  readonly scope: Scope
  readonly inputs: readonly Value[]
  readonly outputs: readonly Value[]
}

/**
 * An immutable tensor of a graph, with a reference to the node that computes it. Created by `op`, `input`,
 * `parameter` and `constant`.
 */
export class Value implements TensorType {
  readonly dtype: DType
  readonly shape: Shape | undefined
  readonly source: Leaf | Node
  /** The position among the outputs of the source. */
  readonly index: number
  /** A name for people and for the exported file. It need not be unique: `exportGraph` makes names unique. */
  readonly name: string | undefined
  /**
   * The elements of a small numeric tensor in row-major order, if they are known before the graph runs (shape
   * arithmetic).
   */
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

/** Names a value without a name. Only allowed right after its creation. */
export function nameValue(value: Value, name: string): void {
  if (value.name === undefined) (value as { name: string | undefined }).name = name
}

/** Moves a node to another scope. Only allowed right after its creation. */
export function placeNode(node: Node, scope: Scope | undefined): void {
  ;(node as { scope: Scope | undefined }).scope = scope
}

/** Replaces the inferred shape of a value by a more precise one. Only allowed right after its creation. */
export function refineShape(value: Value, shape: Shape | undefined): void {
  ;(value as { shape: Shape | undefined }).shape = shape
}

/** The operator of a node with its name, or that of its first output, for messages. */
export function describeNode({ operator, name, outputs }: Node): string {
  const label = name ?? outputs[0]?.name
  return label ? `${operator} '${label}'` : operator
}

/** A graph: inputs, parameters and outputs by name. */
export interface Graph {
  readonly name: string
  readonly inputs: ReadonlyMap<string, Value>
  readonly parameters: ReadonlyMap<string, Value>
  readonly outputs: ReadonlyMap<string, Value>
  /** Names of parameters that the file declares as buffers, which PyTorch does not train. */
  readonly buffers?: ReadonlySet<string>
  /** Metadata of the model by key. */
  readonly metadata?: Readonly<Record<string, string>>
}
