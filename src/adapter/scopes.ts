import { walkNodes } from '../onnx/import/model-nodes.js'
import { type Model, namedTensors } from '../onnx/model.js'
import { isConstant } from '../onnx/proto/constant.js'
import { edit } from '../onnx/proto/message.js'
import type { GraphProto, NodeProto } from '../onnx/proto/schema.js'
import { locateTensors } from '../onnx/tensor-locations.js'
import { append } from '../util/append.js'
import type { NamedValues } from './weight-source.js'

/** A graph whose layers an adapter can change, with the values that its nodes can read. */
export interface LayerScope extends NamedValues {
  readonly graph: GraphProto
  readonly consumers: ReadonlyMap<string, readonly NodeProto[]>
  readonly outputs: ReadonlySet<string>
}

/**
 * Lists the main graph and all bodies (of If, Loop and Scan). Decoders that optimum merged have all layers in both
 * branches of an If, one for the first token and one for the others, with one set of weights in the main graph.
 */
export function listScopes(model: Model): readonly LayerScope[] {
  const main = model.proto.graph!
  const whole = createScope(main, { tensors: namedTensors(model), producers: new Map() })
  if (!main.node.some((node) => bodiesOf(node).length > 0)) return [whole]
  const stored = locateTensors(model.proto, model.external)
  const collectBodies = (graph: GraphProto, outer: NamedValues): LayerScope[] =>
    graph.node.flatMap(bodiesOf).flatMap((body) => {
      const own = [...body.initializer, ...body.node].flatMap((each) => {
        const found = stored.get(each)
        return found ? [[found.local, found.tensor] as const] : []
      })
      const scope = createScope(body, { tensors: new Map([...outer.tensors, ...own]), producers: outer.producers })
      return [scope, ...collectBodies(body, scope)]
    })
  return [whole, ...collectBodies(main, whole)]
}

function createScope(graph: GraphProto, { tensors, producers: outer }: NamedValues): LayerScope {
  const producers = new Map(outer)
  const consumers = new Map<string, NodeProto[]>()
  for (const node of graph.node) {
    if (!isConstant(node)) for (const name of node.output) producers.set(name, node)
    for (const name of node.input) append(consumers, name, node)
  }
  return { graph, tensors, producers, consumers, outputs: new Set(graph.output.map(({ name = '' }) => name)) }
}

const bodiesOf = ({ attribute }: NodeProto): GraphProto[] => attribute.flatMap(({ g }) => (g ? [g] : []))

/** Replaces nodes of a graph and of all bodies in it. */
export function replaceNodes(
  { node }: GraphProto,
  replace: (node: NodeProto) => readonly NodeProto[],
): readonly NodeProto[] {
  return node.flatMap((each) => {
    if (bodiesOf(each).length === 0) return replace(each)
    const attribute = each.attribute.map((one) =>
      one.g ? edit(one, { g: edit(one.g, { node: [...replaceNodes(one.g, replace)] }) }) : one,
    )
    return [edit(each, { attribute })]
  })
}

/** Removes those of some stored tensors and transposes of a graph that no node and no output reads. */
export function dropUnread(graph: GraphProto, names: ReadonlySet<string>): GraphProto {
  const read = new Set(graph.output.map(({ name = '' }) => name))
  for (const { input } of walkNodes(graph)) for (const name of input) read.add(name)
  const isUnread = (name = '') => names.has(name) && !read.has(name)
  const isKept = ({ opType, output }: NodeProto) =>
    (opType !== 'Constant' && opType !== 'Transpose') || !output.every(isUnread)
  return edit(graph, {
    node: graph.node.filter(isKept),
    initializer: graph.initializer.filter(({ name }) => !isUnread(name)),
    input: graph.input.filter(({ name }) => !isUnread(name)),
  })
}
