import { constantNumber, input } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import { bodiesOf, dependenciesOf, nodesOf, topological } from '../../ir/topology.js'
import type { Body, Node, Value } from '../../ir/value.js'

import { flopsOf, isRandom } from '../../op/facts.js'
import { cloneBody } from '../../op/inline.js'
import { OnnxIreError } from '../../util/errors.js'

/** Number of iterations of a Loop or Scan; undefined if it depends on data. */
function countIterations(node: Node): number | undefined {
  if (node.operator === 'Loop') return countLoopIterations(node)
  const [axis] = (node.attributes['scan_input_axes'] as readonly number[] | undefined) ?? []
  const scanned = node.inputs[countStates(node)]?.shape
  const length = scanned?.[axisOf(axis ?? 0, scanned.length)]
  return typeof length === 'number' ? length : undefined
}

/** The trip count of a Loop, unless its condition may end it earlier. */
function countLoopIterations({ inputs: [bound, go], attributes }: Node): number | undefined {
  const of = attributes['body'] as Body
  const iterations = bound?.contents?.[0]
  const isTrue = (value: Value | null | undefined) => constantNumber(value) === 1
  const endless = (!go || isTrue(go)) && (of.outputs[0] === of.inputs[1] || isTrue(of.outputs[0]))
  return typeof iterations === 'number' && endless ? Math.max(0, iterations) : undefined
}

/** Number of states of a Scan; they precede the scanned inputs. */
const countStates = ({ inputs, attributes }: Node): number => inputs.length - (attributes['num_scan_inputs'] as number)

/** Inputs for a body in the first iteration, with the shapes of the initial states and slices. */
function firstIterationInputs(node: Node, of: Body): readonly Value[] {
  const looped = node.operator === 'Loop'
  const states = looped ? node.inputs.slice(2) : node.inputs.slice(0, countStates(node))
  const scanned = looped ? [] : node.inputs.slice(states.length)
  const axes = (node.attributes['scan_input_axes'] as readonly number[] | undefined) ?? []
  const slices = scanned.map((x, i) => x?.shape?.toSpliced(axisOf(axes[i] ?? 0, x.shape.length), 1))
  const shapes = [...(looped ? [[], []] : []), ...states.map((x) => x?.shape), ...slices]
  return of.inputs.map(({ name = 'x', dtype, shape }, i) => input(name, dtype, shapes[i] ?? shape))
}

/** Numbers of operations that computing some values takes. */
export interface Work {
  /** Known operations: without the nodes in `unknown`, and with one iteration of the loops in `unbounded`. */
  readonly flops: number
  /** Operations by node. A node with bodies counts its bodies, and nodes in bodies count all iterations. */
  readonly byNode: ReadonlyMap<Node, number>
  /** Nodes whose operations depend on unknown lengths or data. */
  readonly unknown: readonly Node[]
  /** Loops with unknown trip count. */
  readonly unbounded: readonly Node[]
}

/**
 * Counts the operations for `outputs`. Values that depend on constants only are not counted, because they are computed
 * when the model is loaded. An If counts its more expensive branch.
 * @param constant whether a leaf is the same in every run
 */
export function countWork(outputs: Iterable<Value>, constant: (leaf: Value) => boolean): Work {
  const counter = new Counter()
  const nodes = varyingNodes(topological(outputs), constant)
  const flops = counter.sum(nodes.map((node): [Node, Node] => [node, node]))
  return { flops, byNode: counter.byNode, unknown: [...counter.unknown], unbounded: [...counter.unbounded] }
}

/** The nodes of an order whose results may differ between runs. */
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

/** A node, and the node whose shapes are used: the node itself, or its copy in the first iteration. */
type Counted = readonly [node: Node, seen: Node]

class Counter {
  readonly byNode = new Map<Node, number>()
  readonly unknown = new Set<Node>()
  readonly unbounded = new Set<Node>()

  sum(nodes: readonly Counted[], times = 1): number {
    return nodes.reduce((total, [node, seen]) => total + this.#count(node, seen, times), 0)
  }

  #count(node: Node, seen: Node, times: number): number {
    const flops = bodiesOf(seen).length > 0 ? this.#controlled(seen, times) : times * flopsOf(seen)
    if (Number.isNaN(flops)) this.unknown.add(node)
    const known = Number.isNaN(flops) ? 0 : flops
    this.byNode.set(node, (this.byNode.get(node) ?? 0) + known)
    return known
  }

  #controlled(node: Node, times: number): number {
    const [first, ...others] = bodiesOf(node)
    if (node.operator === 'If')
      return Math.max(...[first!, ...others].map((branch) => this.sum(nodesOf(branch).map(itself), times)))
    const iterations = countIterations(node)
    if (iterations === undefined) this.unbounded.add(node)
    return this.sum(firstIterationNodes(node, first!), times * (iterations ?? 1))
  }
}

const itself = (node: Node): Counted => [node, node]

/**
 * The nodes of a body with shapes inferred from the operands of the first iteration, because files rarely declare them.
 */
function firstIterationNodes(node: Node, of: Body): Counted[] {
  const nodes = nodesOf(of)
  try {
    const copies = cloneBody(of, firstIterationInputs(node, of))
    return nodes.flatMap((node): Counted[] => {
      const source = copies.get(node.outputs[0]!)?.source
      // Constants are computed when the model is loaded.
      return source?.kind === 'node' ? [[node, source]] : []
    })
  } catch (error) {
    if (!(error instanceof OnnxIreError)) throw error
    // The shapes of the first iteration differ from those of later ones.
    return nodes.map(itself)
  }
}
