import { OnnxIreError } from '../../util/errors.js'
import type { GraphProto, NodeProto } from '../proto/schema.js'

/**
 * Nodes in an order in which each comes after those it reads from. Files promise this order; some exporters break the
 * promise. Throws `invalid-model` naming the nodes of a cycle.
 */
export function sortNodes(nodes: readonly NodeProto[], isKnown: (name: string) => boolean): readonly NodeProto[] {
  const producer = new Map<string, NodeProto>()
  for (const node of nodes) {
    for (const name of node.output) {
      if (name === '') continue
      if (producer.has(name))
        throw new OnnxIreError(
          'invalid-model',
          `two nodes give '${name}': ${describeNode(producer.get(name)!)} and ${describeNode(node)}`,
        )
      producer.set(name, node)
    }
  }
  const order: NodeProto[] = []
  const state = new Map<NodeProto, 'open' | 'done'>()
  for (const start of nodes) {
    const stack = state.has(start) ? [] : [createFrame(start)]
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      state.set(top.node, 'open')
      const name = top.names[top.next++]
      if (name === undefined) {
        state.set(top.node, 'done')
        order.push(top.node)
        stack.pop()
        continue
      }
      const before = isKnown(name) ? undefined : producer.get(name)
      if (!before || state.get(before) === 'done') continue
      if (state.get(before) === 'open')
        throw cycleError(
          stack.map(({ node }) => node),
          before,
        )
      stack.push(createFrame(before))
    }
  }
  return order
}

const createFrame = (node: NodeProto) => ({ node, names: listReadNames(node), next: 0 })

/** What a node reads: its inputs and, for control flow, whatever its bodies take from outside. */
function listReadNames(node: NodeProto): readonly string[] {
  const bodies = node.attribute.flatMap(({ g, graphs }) => (g ? [g, ...graphs] : graphs))
  return bodies.length === 0 ? node.input : [...node.input, ...bodies.flatMap(listFreeNames)]
}

function listFreeNames(graph: GraphProto): string[] {
  const own = new Set([
    ...graph.input.map(({ name }) => name),
    ...graph.initializer.map(({ name }) => name),
    ...graph.node.flatMap(({ output }) => output),
  ])
  return [...graph.node.flatMap(listReadNames), ...graph.output.map(({ name }) => name ?? '')].filter(
    (name) => !own.has(name),
  )
}

const describeNode = (node: NodeProto): string => `${node.opType} '${node.name || node.output[0]}'`

function cycleError(open: readonly NodeProto[], again: NodeProto): OnnxIreError {
  const nodes = open.slice(open.indexOf(again))
  const shown =
    nodes.length > 8 ? [...nodes.slice(0, 8).map(describeNode), `... (${nodes.length} nodes)`] : nodes.map(describeNode)
  return new OnnxIreError('invalid-model', `the graph is cyclic: ${shown.join(' -> ')} -> ${describeNode(again)}`)
}
