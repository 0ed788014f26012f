import { int64s } from '../../ir/leaf.js'
import type { Attribute, Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'

/** A node of an imported model before it has the newest form of its operator. */
export interface OldNode {
  readonly operator: string
  readonly inputs: readonly (Value | null)[]
  readonly attributes: Readonly<Record<string, Attribute>>
  readonly outputCount: number
}

/** Rewrites a node in a newer form, or returns the values that replace its outputs. */
export type Rewrite = (node: OldNode) => OldNode | readonly Value[]

/** Rewrites by operator, then by the version of the operator set that introduced the new form. */
export type Upgrades = Readonly<Record<string, Readonly<Record<number, Rewrite>>>>

/** Leaves a node as it is: an operator of another domain that equals the operator of ai.onnx with the same name. */
export const keepNode: Rewrite = (node) => node

/** Turns an attribute of integers into the input at position `index`, a 1-D int64 tensor. */
export const attributeToInput =
  (name: string, index: number): Rewrite =>
  (node) => {
    const { [name]: moved, ...attributes } = node.attributes
    if (moved === undefined) return { ...node, attributes }
    const inputs = Array.from({ length: Math.max(node.inputs.length, index + 1) }, (_, i) => node.inputs[i] ?? null)
    inputs[index] = int64s(moved as readonly number[])
    return { ...node, attributes, inputs }
  }

/** Removes attributes that no longer exist (`consumed_inputs` of operator set 1, `spatial` ...). */
export const withoutAttributes =
  (...names: readonly string[]): Rewrite =>
  (node) => ({
    ...node,
    attributes: Object.fromEntries(Object.entries(node.attributes).filter(([key]) => !names.includes(key))),
  })

/**
 * Reads operands and attributes of a node. Models are not trusted: every getter throws `invalid-model` on a wrong
 * type.
 */
export class NodeReader {
  readonly outputCount: number
  readonly #inputs: readonly (Value | null)[]
  readonly #attributes: Readonly<Record<string, Attribute>>

  constructor(node: OldNode) {
    this.#inputs = node.inputs
    this.#attributes = node.attributes
    this.outputCount = node.outputCount
  }

  /** The operand at position `index`, which is required. */
  operand(index: number): Value {
    const value = this.#inputs[index]
    if (!value) throw new OnnxIreError('invalid-model', `needs its input number ${index}`)
    return value
  }

  /** The operand at position `index`, or null if it is absent. */
  optionalOperand(index: number): Value | null {
    return this.#inputs[index] ?? null
  }

  number(name: string): number | undefined
  number(name: string, otherwise: number): number
  number(name: string, otherwise?: number): number | undefined {
    return this.#typed(name, (value) => typeof value === 'number', 'a number') ?? otherwise
  }

  /** A required positive integer, such as a number of heads. */
  count(name: string): number {
    const value = this.number(name, 0)
    if (!Number.isInteger(value) || value < 1)
      throw new OnnxIreError('invalid-model', `needs its attribute '${name}', a positive integer`)
    return value
  }

  /** A text attribute; '' if it is absent. */
  text(name: string): string {
    return this.#typed(name, (value) => typeof value === 'string', 'text') ?? ''
  }

  numbers(name: string): readonly number[] | undefined {
    const isList = (value: Attribute): value is readonly number[] =>
      Array.isArray(value) && value.every((item) => typeof item === 'number')
    return this.#typed(name, isList, 'a list of numbers')
  }

  /** The attributes of these names that are present, unchecked. */
  pickAttributes(...names: readonly string[]): Record<string, Attribute> {
    return Object.fromEntries(Object.entries(this.#attributes).filter(([name]) => names.includes(name)))
  }

  #typed<T extends Attribute>(
    name: string,
    hasType: (value: Attribute) => value is T,
    expected: string,
  ): T | undefined {
    const value = getOwn(this.#attributes, name)
    if (value === undefined || hasType(value)) return value
    throw new OnnxIreError('invalid-model', `its attribute '${name}' is not ${expected}`)
  }
}

/** The error for a form of an operator that cannot be rewritten. */
export const unsupportedError = (what: string): OnnxIreError =>
  new OnnxIreError('unsupported-operator', `${what} is not supported; export the model without it`)

/**
 * Defines a rewrite for an operator with the attributes `attributes`. Other attributes throw `unsupported-operator`,
 * because they may change the result.
 */
export const defineRewrite =
  (attributes: readonly string[], rewrite: (node: NodeReader) => readonly (Value | null)[]): Rewrite =>
  (node) => {
    const unknown = Object.keys(node.attributes).find((name) => !attributes.includes(name))
    if (unknown !== undefined) throw unsupportedError(`its attribute '${unknown}'`)
    // A null result only matters if another node reads it; importing then rejects that node.
    return rewrite(new NodeReader(node)) as readonly Value[]
  }
