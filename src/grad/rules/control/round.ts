import { input } from '../../../ir/leaf.js'
import { body, currentScope } from '../../../ir/scope.js'
import { formatShape, subDims } from '../../../ir/shape.js'
import { bodiesOf, dependenciesOf, topological } from '../../../ir/topology.js'
import { type Body, placeNode, refineShape, type TensorType, type Value } from '../../../ir/value.js'
import { OnnxIreError } from '../../../util/errors.js'
import { activeValues } from '../../active.js'
import type { Round } from './pullback.js'

/** A body of Loop or Scan; what is the same in every round is computed once, before the first. */
export function roundBody(inputs: readonly Value[], build: (...inputs: Value[]) => readonly Value[]): Body {
  const outer = currentScope()
  const made = body(inputs, build)
  const varying = new Set<Value>(inputs)
  for (const node of nodesOf(made)) {
    if (bodiesOf(node).length > 0 || dependenciesOf(node).some((x) => varying.has(x)))
      for (const y of node.outputs) varying.add(y)
    else placeNode(node, outer)
  }
  return made
}

export const nodesOf = (of: Body) => topological(of.outputs, ({ scope }) => scope === of.scope)

/** Which inputs of a body its results depend on. */
export function usedInputs(of: Body): boolean[] {
  const read = new Set([...of.outputs, ...nodesOf(of).flatMap(dependenciesOf)])
  return of.inputs.map((x) => read.has(x))
}

/** How many nodes a body has, those of bodies inside it included. */
export const sizeOfBody = (of: Body): number =>
  nodesOf(of).reduce((sum, node) => sum + 1 + bodiesOf(node).reduce((inner, each) => inner + sizeOfBody(each), 0), 0)

/** An input of a new body in the place of `x`. */
export const placeholder = (x: TensorType & { readonly name?: string | undefined }, name = 'x'): Value =>
  input(x.name ?? name, x.dtype, x.shape)

/** A gradient has the shape of its value, also where inference does not see that. */
export function shapedLike(dx: Value, x: TensorType): Value {
  if (x.shape && dx.source.kind === 'node') refineShape(dx, x.shape)
  return dx
}

/** What happens to a state that is not as long after a round as before it; undefined where all can be. */
export function changeOf(states: readonly Value[], results: readonly Value[]): string | undefined {
  for (const [index, { shape, name }] of states.entries()) {
    const after = results[index]?.shape
    if (!shape || !after) continue
    const changes =
      shape.length !== after.length ||
      shape.some((dim, axis) => {
        const growth = subDims(after[axis]!, dim)
        return typeof growth === 'number' && growth !== 0
      })
    if (changes)
      return `state ${index}${name ? ` ('${name}')` : ''} goes from ${formatShape(shape)} to ${formatShape(after)} in a round`
  }
  return undefined
}

/** Keeping what a state was in every round takes one shape for all of them. */
export function refuseChange(change: string | undefined): void {
  if (change !== undefined)
    throw new OnnxIreError(
      'not-differentiable',
      `its ${change}; states have to keep their shape to be differentiated, unless the number of rounds is a constant and small`,
    )
}

/** Which states of a round can vary with what is differentiated: those that begin so, and those that come to in some round. */
export function activeStates(
  { of, lead, skip, count }: Round,
  asked: readonly boolean[],
  captured: readonly Value[],
): readonly boolean[] {
  const order = nodesOf(of)
  let states = asked.slice(lead, lead + count)
  for (;;) {
    const wrt = of.inputs.filter((_, i) => states[i - lead] ?? asked[i])
    const reached = activeValues(order, [...captured, ...wrt])
    const grown = states.map((state, i) => state || reached.has(of.outputs[skip + i]!))
    if (grown.every((state, i) => state === states[i])) return states
    states = grown
  }
}
