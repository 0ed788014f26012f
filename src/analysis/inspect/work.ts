import { bodiesOf, dependenciesOf, topological } from '../../ir/topology.js'
import type { Body, Node, Value } from '../../ir/value.js'
import { flopsOf, isRandom } from '../../op/facts.js'
import { copied } from '../../op/inline.js'
import { OnnxIreError } from '../../util/errors.js'
import { roundInputs, roundsOf } from './rounds.js'

/** The operations that computing some values takes. */
export interface Work {
  /** What is known of them: without the nodes in `unknown`, and with one round of the loops in `unbounded`. */
  readonly flops: number
  /** By node; a node with bodies has what is in them, and so have their nodes, all rounds together. */
  readonly byNode: ReadonlyMap<Node, number>
  /** Nodes whose cost depends on lengths or data that are not known. */
  readonly unknown: readonly Node[]
  /** Loops that run nobody knows how often. */
  readonly unbounded: readonly Node[]
}

/**
 * The operations that `outputs` take, where what depends on nothing but constants is computed when the model is loaded.
 * Of an If the branch that takes more is counted.
 * @param constant whether a leaf stays the same from run to run
 */
export function workOf(outputs: Iterable<Value>, constant: (leaf: Value) => boolean): Work {
  const counter = new Counter()
  const nodes = varyingNodes(topological(outputs), constant)
  const flops = counter.sum(nodes.map((node): [Node, Node] => [node, node]))
  return { flops, byNode: counter.byNode, unknown: [...counter.unknown], unbounded: [...counter.unbounded] }
}

/** The nodes of an order that give other results from run to run. */
export function varyingNodes(order: readonly Node[], constant: (leaf: Value) => boolean): Node[] {
  const fixed = new Set<Node>()
  const isFixed = (x: Value) =>
    x.source.kind === 'node' ? fixed.has(x.source) : x.source.kind === 'constant' || constant(x)
  return order.filter((node) => {
    const folded = dependenciesOf(node).every(isFixed) && !isRandom(node)
    if (folded) fixed.add(node)
    return !folded
  })
}

/** A node, and the one whose shapes are looked at: itself, or its copy of the first round. */
type Counted = readonly [node: Node, seen: Node]

class Counter {
  readonly byNode = new Map<Node, number>()
  readonly unknown = new Set<Node>()
  readonly unbounded = new Set<Node>()

  sum(nodes: readonly Counted[], times = 1): number {
    return nodes.reduce((total, [node, seen]) => total + this.count(node, seen, times), 0)
  }

  private count(node: Node, seen: Node, times: number): number {
    const flops = bodiesOf(seen).length > 0 ? this.controlled(seen, times) : times * flopsOf(seen)
    if (Number.isNaN(flops)) this.unknown.add(node)
    const known = Number.isNaN(flops) ? 0 : flops
    this.byNode.set(node, (this.byNode.get(node) ?? 0) + known)
    return known
  }

  private controlled(node: Node, times: number): number {
    const [first, ...others] = bodiesOf(node)
    if (node.operator === 'If')
      return Math.max(...[first!, ...others].map((branch) => this.sum(nodesOf(branch).map(itself), times)))
    const rounds = roundsOf(node)
    if (rounds === undefined) this.unbounded.add(node)
    return this.sum(inFirstRound(node, first!), times * (rounds ?? 1))
  }
}

const itself = (node: Node): Counted => [node, node]

const nodesOf = (of: Body): Node[] => topological(of.outputs, ({ scope }) => scope === of.scope)

/** A body's nodes; files rarely declare the shapes inside, so they are inferred from the first round's operands. */
function inFirstRound(node: Node, of: Body): Counted[] {
  const nodes = nodesOf(of)
  try {
    const copies = copied(of, roundInputs(node, of))
    return nodes.flatMap((node): Counted[] => {
      const source = copies.get(node.outputs[0]!)?.source
      // What became a constant is computed when the model is loaded.
      return source?.kind === 'node' ? [[node, source]] : []
    })
  } catch (error) {
    if (!(error instanceof OnnxIreError)) throw error
    // The first round's shapes are not those of the others.
    return nodes.map(itself)
  }
}
