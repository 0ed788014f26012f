import type { Body, Node, Value } from './value.js'

/** The bodies (If, Loop, Scan) a node carries in its attributes. */
export const bodiesOf = (node: Node): readonly Body[] =>
  Object.values(node.attributes).flatMap((attribute) => {
    const candidates = Array.isArray(attribute) ? attribute : [attribute]
    return candidates.filter(
      (candidate): candidate is Body => typeof candidate === 'object' && candidate?.kind === 'body',
    )
  })

const captured = new WeakMap<Node, readonly Value[]>()

/** Values from outside that the bodies of a node use. */
export function capturesOf(node: Node): readonly Value[] {
  const bodies = bodiesOf(node)
  if (bodies.length === 0) return []
  let captures = captured.get(node)
  if (captures === undefined) {
    captures = [...new Set(bodies.flatMap((body) => capturesOfBody(body)))]
    captured.set(node, captures)
  }
  return captures
}

function capturesOfBody(body: Body): Value[] {
  const inside = new Set(topological(body.outputs, (node) => node.scope === body.scope))
  const own = new Set(body.inputs)
  const used = [...body.outputs, ...[...inside].flatMap((node) => [...node.inputs, ...capturesOf(node)])]
  return used.filter(
    (value): value is Value =>
      value !== null &&
      !own.has(value) &&
      (value.source.kind === 'node' ? !inside.has(value.source) : value.source.kind !== 'constant'),
  )
}

/** Everything a node reads: its inputs and what its bodies capture. */
export const dependenciesOf = (node: Node): readonly Value[] => {
  const inputs = node.inputs.filter((value) => value !== null)
  const captures = capturesOf(node)
  return captures.length === 0 ? inputs : [...inputs, ...captures]
}

/**
 * The nodes that `outputs` need, each after those it depends on. Iterative: chains of any length do not overflow the stack.
 * `within` limits the walk; a node it refuses is not entered.
 */
export function topological(outputs: Iterable<Value>, within: (node: Node) => boolean = () => true): Node[] {
  const order: Node[] = []
  const seen = new Set<Node>()
  for (const output of outputs) {
    const stack: { node: Node; dependencies: readonly Value[]; next: number }[] = []
    const enter = (value: Value) => {
      const node = value.source
      if (node.kind !== 'node' || seen.has(node) || !within(node)) return
      seen.add(node)
      stack.push({ node, dependencies: dependenciesOf(node), next: 0 })
    }
    enter(output)
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const dependency = top.dependencies[top.next++]
      if (dependency !== undefined) enter(dependency)
      else order.push(stack.pop()!.node)
    }
  }
  return order
}

/** The same with the nodes of bodies before those that carry them. */
export const withBodies = (outputs: Iterable<Value>): Node[] =>
  topological(outputs).flatMap((node) => [...bodiesOf(node).flatMap(nodesInside), node])

const nodesInside = (body: Body): Node[] =>
  topological(body.outputs, ({ scope }) => scope === body.scope).flatMap((node) => [
    ...bodiesOf(node).flatMap(nodesInside),
    node,
  ])

/** The leaves (inputs, parameters, constants) that `outputs` depend on, in order of first use. */
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
