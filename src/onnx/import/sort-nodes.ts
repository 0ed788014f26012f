import { OnnxIreError } from '../../util/errors.js'
import type { GraphProto, NodeProto } from '../proto/schema.js'

/**
 * Sorts nodes topologically: every node follows the nodes whose results it reads. ONNX requires this order, but not
 * every exporter writes it.
 *
 * @param isKnown whether a name is defined outside these nodes
 * @throws OnnxIreError `invalid-model` with the nodes of a cycle, or with two nodes that have an output of the same
 *   name
 */
export function sortNodes(nodes: readonly NodeProto[], isKnown: (name: string) => boolean): readonly NodeProto[] {
  const producer = new Map<string, NodeProto>()
  for (const node of nodes) {
    for (const name of node.output) {
      if (name === '') continue
      if (producer.has(name))
        throw new OnnxIreError(
          'invalid-model',
          `two nodes have the output '${name}': ${describeNode(producer.get(name)!)} and ${describeNode(node)}`,
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

/** The names that a node reads: its inputs, and the outer names that its bodies read. */
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
  return new OnnxIreError('invalid-model', `the graph has a cycle: ${shown.join(' -> ')} -> ${describeNode(again)}`)
}
