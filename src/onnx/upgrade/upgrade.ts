import { int64s } from '../../ir/leaf.js'
import type { Attribute, Value } from '../../ir/value.js'

/** A node of an imported model on its way to today's form of its operator. */
export interface OldNode {
  readonly operator: string
  readonly inputs: readonly (Value | null)[]
  readonly attributes: Readonly<Record<string, Attribute>>
  readonly outputCount: number
}

/**
 * One change of an operator between two versions of the operator set: from the form before it to the form after it, or
 * straight to the values that replace the node's outputs.
 */
export type Upgrade = (node: OldNode) => OldNode | readonly Value[]

/** Of operators that take and give what those of ai.onnx with the same name do. */
export const sameForm: Upgrade = (node) => node

/** By operator, then by the version of the operator set that brought the change. */
export type Upgrades = Readonly<Record<string, Readonly<Record<number, Upgrade>>>>

/** An attribute that became an input: `ints` become a 1-D int64 tensor in place `index`. */
export const attributeToInput =
  (name: string, index: number): Upgrade =>
  (node) => {
    const { [name]: moved, ...attributes } = node.attributes
    if (moved === undefined) return { ...node, attributes }
    const inputs = Array.from({ length: Math.max(node.inputs.length, index + 1) }, (_, i) => node.inputs[i] ?? null)
    inputs[index] = int64s(moved as readonly number[])
    return { ...node, attributes, inputs }
  }

/** Attributes that lost their meaning (`consumed_inputs` of operator set 1, `spatial` ...). */
export const withoutAttributes =
  (...names: readonly string[]): Upgrade =>
  (node) => ({
    ...node,
    attributes: Object.fromEntries(Object.entries(node.attributes).filter(([key]) => !names.includes(key))),
  })
