import { body, currentScope } from '../../../ir/body.js'
import { input } from '../../../ir/leaf.js'
import { formatShape, subDims } from '../../../ir/shape.js'
import { bodiesOf, dependenciesOf, nodesOf } from '../../../ir/topology.js'
import { type Body, placeNode, refineShape, type TensorType, type Value } from '../../../ir/value.js'
import { isRandom } from '../../../op/facts.js'
import { op } from '../../../op/op.js'
import { OnnxIreError } from '../../../util/errors.js'
import { activeValues } from '../../active.js'

/** Builds a body of a Loop or Scan. Nodes with the same result in every iteration are moved out of it. */
export function iterationBody(inputs: readonly Value[], build: (...inputs: Value[]) => readonly Value[]): Body {
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

/** Whether the results of a body depend on each of its inputs. */
export function findUsedInputs(of: Body): boolean[] {
  const read = new Set([...of.outputs, ...nodesOf(of).flatMap(dependenciesOf)])
  return of.inputs.map((x) => read.has(x))
}

/** Number of nodes of a body and of the bodies inside it. */
export const countNodes = (of: Body): number =>
  nodesOf(of).reduce((sum, node) => sum + 1 + bodiesOf(node).reduce((inner, each) => inner + countNodes(each), 0), 0)

/** Input of a new body with the type of `x`. */
export const placeholder = (x: TensorType & { readonly name?: string | undefined }, name = 'x'): Value =>
  input(x.name ?? name, x.dtype, x.shape)

/** Returns `dx` with the shape of `x`, which inference may not have found. */
export function withShapeOf(dx: Value, x: TensorType): Value {
  if (x.shape && dx.source.kind === 'node') refineShape(dx, x.shape)
  return dx
}

/** Describes a state whose shape changes in an iteration; undefined if no state certainly does. */
export function findShapeChange(states: readonly Value[], results: readonly Value[]): string | undefined {
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
      return `state ${index}${name ? ` ('${name}')` : ''} goes from ${formatShape(shape)} to ${formatShape(after)} in one iteration`
  }
  return undefined
}

/** Throws `not-differentiable` if a state changes its shape: storing a state of every iteration needs one shape. */
export function rejectShapeChange(change: string | undefined): void {
  if (change !== undefined)
    throw new OnnxIreError(
      'not-differentiable',
      `its ${change}; only states of constant shape are differentiated, unless the number of iterations is a small constant`,
    )
}

/** Whether each state can depend on a differentiated value, initially or after some iteration. */
export function findActiveStates(
  { of, lead, skip, count }: IterationBody,
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

/**
 * Body of a Loop or Scan. Its inputs are `lead` others, then the states, then slices; its results are `skip` others,
 * then states, then slices.
 */
export interface IterationBody {
  readonly of: Body
  readonly lead: number
  readonly skip: number
  /** Number of states. */
  readonly count: number
}

/**
 * Throws `not-differentiable` for random nodes in a body: the gradient runs the body again and would sample other
 * numbers.
 */
export function rejectRandomNodes(body: Body): void {
  for (const node of nodesOf(body)) {
    if (isRandom(node))
      throw new OnnxIreError(
        'not-differentiable',
        `${node.operator} '${node.name ?? node.outputs[0]?.name ?? '?'}' samples random numbers inside a body, which runs a second time for its gradient; sample them outside the body`,
      )
    bodiesOf(node).forEach(rejectRandomNodes)
  }
}

/** Largest number of iterations for which an unrolled loop is faster. */
const maxFastIterations = 4
/** Largest number of iterations that are unrolled if a loop is impossible. */
const maxIterations = 32
/** Largest number of nodes of an unrolled loop. */
const maxNodes = 1024

/** Whether unrolling is faster than looping. */
export const isFasterUnrolled = (iterations: number, nodes: number): boolean =>
  iterations <= maxFastIterations && iterations * nodes <= maxNodes

/** Whether unrolling is possible at all. */
export const canBeUnrolled = (iterations: number, nodes: number): boolean =>
  iterations <= maxIterations && iterations * nodes <= maxNodes

/** Sums of gradient contributions by value: a node may read a value more than once. */
export class GradientSums {
  private readonly sums = new Map<Value, Value>()

  add(x: Value | null | undefined, dx: Value | null | undefined): void {
    if (!x || !dx) return
    const before = this.sums.get(x)
    this.sums.set(x, before ? op.Add(before, dx) : dx)
  }

  get(x: Value): Value | null {
    return this.sums.get(x) ?? null
  }
}
