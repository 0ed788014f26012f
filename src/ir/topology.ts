import { getOwn } from '../util/record.js'
import type { Body, Node, Value } from './value.js'

const none: readonly Body[] = []

/** The bodies in the attributes of a node (If, Loop, Scan). */
export function bodiesOf({ attributes }: Node): readonly Body[] {
  // Every walk calls this function for every node: nodes without bodies must not allocate.
  let bodies = none
  for (const key in attributes) {
    const attribute = getOwn(attributes, key)
    if (typeof attribute !== 'object') continue
    if (!Array.isArray(attribute)) {
      if ('kind' in attribute) bodies = [...bodies, attribute]
    } else if (typeof attribute[0] === 'object') bodies = [...bodies, ...(attribute as readonly Body[])]
  }
  return bodies
}

const nothing: readonly Value[] = []
const captured = new WeakMap<Node, readonly Value[]>()

/** The outer values that the bodies of a node use. */
export function capturesOf(node: Node): readonly Value[] {
  const bodies = bodiesOf(node)
  if (bodies.length === 0) return nothing
  let captures = captured.get(node)
  if (captures === undefined) {
    captures = [...new Set(bodies.flatMap(capturesOfBody))]
    captured.set(node, captures)
  }
  return captures
}

function capturesOfBody(body: Body): Value[] {
  const order = nodesOf(body)
  const inside = new Set(order)
  const own = new Set(body.inputs)
  const outside = new Set<Value>()
  const use = (value: Value) => {
    const { source } = value
    if (source.kind === 'node' ? !inside.has(source) : source.kind !== 'constant' && !own.has(value)) outside.add(value)
  }
  body.outputs.forEach(use)
  for (const node of order) dependenciesOf(node).forEach(use)
  return [...outside]
}

/** The values that a node reads: its inputs, and the outer values that its bodies use. */
export function dependenciesOf(node: Node): readonly Value[] {
  const { inputs } = node
  const given = inputs.includes(null) ? inputs.filter((value) => value !== null) : (inputs as readonly Value[])
  const captures = capturesOf(node)
  return captures.length === 0 ? given : [...given, ...captures]
}

/**
 * The nodes that `outputs` need, in topological order (dependencies first). The walk is iterative, so long chains do
 * not overflow the stack.
 *
 * @param within whether to visit a node. The dependencies of a node that is not visited are not visited either.
 */
export function topological(outputs: Iterable<Value>, within: (node: Node) => boolean = () => true): Node[] {
  const order: Node[] = []
  const seen = new Set<Node>()
  // The stack of the walk: nodes, their dependencies, and the position of the next dependency.
  const nodes: Node[] = []
  const dependencies: (readonly Value[])[] = []
  const next: number[] = []
  const enter = ({ source: node }: Value) => {
    if (node.kind !== 'node' || seen.has(node) || !within(node)) return
    seen.add(node)
    nodes.push(node)
    dependencies.push(dependenciesOf(node))
    next.push(0)
  }
  for (const output of outputs) {
    enter(output)
    while (nodes.length > 0) {
      const top = nodes.length - 1
      const dependency = dependencies[top]![next[top]!++]
      if (dependency !== undefined) enter(dependency)
      else {
        order.push(nodes.pop()!)
        dependencies.pop()
        next.pop()
      }
    }
  }
  return order
}

/** Nodes of a body of If, Loop or Scan in topological order, without those of bodies inside it. */
export const nodesOf = (body: Body): Node[] => topological(body.outputs, ({ scope }) => scope === body.scope)

/**
 * The nodes that `outputs` need, in topological order, with the nodes of bodies before the nodes that contain the
 * bodies.
 */
export const withBodies = (outputs: Iterable<Value>): Node[] =>
  topological(outputs).flatMap((node) => [...bodiesOf(node).flatMap(nodesInside), node])

const nodesInside = (body: Body): Node[] =>
  nodesOf(body).flatMap((node) => [...bodiesOf(node).flatMap(nodesInside), node])

/** The inputs, parameters and constants that `outputs` depend on, in the order of their first use. */
export function leavesOf(outputs: Iterable<Value>): Value[] {
  const leaves = new Set<Value>()
  const add = (value: Value) => {
    if (value.source.kind !== 'node') leaves.add(value)
  }
  const ends = [...outputs]
  for (const node of topological(ends)) for (const value of dependenciesOf(node)) add(value)
  ends.forEach(add)
  return [...leaves]
}
