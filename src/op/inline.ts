import { body } from '../ir/body.js'
import { input } from '../ir/leaf.js'
import { type Shape, unknownDim } from '../ir/shape.js'
import { bodiesOf, nodesOf } from '../ir/topology.js'
import { type Attribute, type Body, type Node, refineShape, type Value } from '../ir/value.js'
import { apply } from './apply.js'
import { definitionOf } from './op.js'

/** Maps original values to their copies. */
export type Substitution = Map<Value, Value>

/** Applies a body to other inputs: clones its nodes in the current scope and returns the outputs. */
export function inline(of: Body, inputs: readonly Value[]): Value[] {
  const copies = cloneBody(of, inputs)
  return of.outputs.map((value) => copies.get(value) ?? value)
}

/**
 * Clones the nodes of a body for other inputs; returns the map from the body's values to their copies, without captured
 * values.
 */
export function cloneBody(of: Body, inputs: readonly Value[], outer: Substitution = new Map()): Substitution {
  const copies: Substitution = new Map(outer)
  for (const [index, value] of of.inputs.entries()) copies.set(value, inputs[index]!)
  for (const node of nodesOf(of)) {
    // The caller supplied these values already.
    if (node.outputs.every((value) => copies.has(value))) continue
    for (const [index, value] of cloneNode(node, copies).entries()) {
      const original = node.outputs[index]!
      if (!copies.has(original)) copies.set(original, value)
    }
  }
  return copies
}

/**
 * Clones a node on the copies of its operands and of the values its bodies capture. An If with known condition is
 * inlined.
 */
export function cloneNode(node: Node, copies: Substitution): readonly Value[] {
  const taken = knownBranch(node, copies)
  if (taken) {
    const inner = cloneBody(taken, [], copies)
    return taken.outputs.map((value) => inner.get(value) ?? value)
  }
  const outputs = apply({
    operator: node.operator,
    definition: definitionOf(node.operator),
    inputs: node.inputs.map((value) => value && (copies.get(value) ?? value)),
    attributes:
      bodiesOf(node).length === 0
        ? node.attributes
        : Object.fromEntries(
            Object.entries(node.attributes).map(([key, value]) => [key, cloneAttribute(value, copies)]),
          ),
    name: node.name,
    outputCount: node.outputs.length,
  })
  for (const [index, value] of outputs.entries())
    if (value.source.kind === 'node') refineShape(value, refineFrom(value.shape, node.outputs[index]!.shape))
  return outputs
}

/** The branch of an If that is taken, if its condition is known. */
function knownBranch({ operator, inputs, attributes }: Node, copies: Substitution): Body | undefined {
  if (operator !== 'If') return undefined
  const condition = knownCondition(copies.get(inputs[0]!) ?? inputs[0]!)
  return condition === undefined ? undefined : (attributes[condition ? 'then_branch' : 'else_branch'] as Body)
}

/** The value of a condition, if it is known before running. */
export function knownCondition({ contents }: Value): boolean | undefined {
  const [element] = contents ?? []
  return typeof element === 'number' ? element !== 0 : undefined
}

function cloneAttribute(attribute: Attribute | undefined, copies: Substitution): Attribute | undefined {
  if (typeof attribute !== 'object') return attribute
  if (Array.isArray(attribute))
    return attribute.map((item) => cloneAttribute(item as Attribute, copies)) as readonly Body[]
  return 'kind' in attribute ? cloneBodyAttribute(attribute, copies) : attribute
}

/** Clones a body with copies of its captured values. */
function cloneBodyAttribute(of: Body, copies: Substitution): Body {
  const inputs = of.inputs.map((x) => input(x.name ?? 'x', x.dtype, renewUnknown(x.shape)))
  return body(inputs, (...inputs) => {
    const inner = cloneBody(of, inputs, copies)
    return of.outputs.map((value) => inner.get(value) ?? value)
  })
}

/** Adds dims that the original has (from a file's declarations) to an inferred shape that lacks them. */
export function refineFrom(found: Shape | undefined, original: Shape | undefined): Shape | undefined {
  if (!found || found.length !== original?.length) return found ?? renewUnknown(original)
  return found.map((dim, axis) =>
    typeof dim === 'string' && typeof original[axis] === 'number' ? original[axis] : dim,
  )
}

/** Replaces unknown dims by new ones: they may differ between copies. */
const renewUnknown = (shape: Shape | undefined): Shape | undefined =>
  shape?.map((dim) => (typeof dim === 'string' && dim.includes('?') ? unknownDim() : dim))
