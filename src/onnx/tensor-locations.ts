import type { Tensor } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'
import { isConstant, readConstant } from './proto/constant.js'
import type { ExternalData } from './proto/external-data.js'
import type { FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto } from './proto/schema.js'
import { createUnreadableTensor, readTensor } from './proto/tensor.js'

/** A constant tensor where it stands: an initializer or Constant node of the main graph, of a body or of a function. */
export interface StoredTensor {
  /** Unlike that of any other tensor of the model. */
  readonly name: string
  /** What the nodes around it call it. */
  readonly local: string
  readonly tensor: Tensor
  readonly initializer: boolean
}

interface Found extends Omit<StoredTensor, 'name'> {
  readonly at: TensorProto | NodeProto
  /** Which body or function it stands in; '' is the main graph. */
  readonly place: string
}

/**
 * Every constant tensor of a model, by the message that holds it. Those of the main graph go by their own names; one of a
 * body or function by its own name where nothing else has it, else behind its place: `If_0/then_branch/weight`.
 * Throws `invalid-model` when two of one graph have the same name or one is damaged.
 */
export function locateTensors(
  { graph, functions }: ModelProto,
  external: ExternalData | null,
): ReadonlyMap<TensorProto | NodeProto, StoredTensor> {
  const found: Found[] = []
  if (graph) collect(graph, '', external, found)
  for (const each of functions) collect(each, each.name ?? '', external, found)
  const counts = new Map<string, number>()
  for (const { local } of found) counts.set(local, (counts.get(local) ?? 0) + 1)
  const taken = new Set(graph ? mainNames(graph) : [])
  const free = (wanted: string): string => {
    let name = wanted
    for (let n = 1; taken.has(name); n++) name = `${wanted}_${n}`
    taken.add(name)
    return name
  }
  return new Map(
    found.map(({ at, place, local, tensor, initializer }) => {
      const own =
        place === '' ? local : free(counts.get(local) === 1 && !taken.has(local) ? local : `${place}/${local}`)
      return [at, { name: own, local, tensor, initializer }]
    }),
  )
}

const mainNames = ({ initializer, input, node, output }: GraphProto): readonly string[] => [
  ...[...initializer, ...input, ...output].map(({ name = '' }) => name),
  ...node.flatMap(({ output }) => output),
]

function collect(
  graph: GraphProto | FunctionProto,
  place: string,
  external: ExternalData | null,
  found: Found[],
): void {
  const locals = new Set<string>()
  const add = (at: TensorProto | NodeProto, local: string, tensor: Tensor, initializer: boolean) => {
    if (locals.has(local))
      throw new OnnxIreError('invalid-model', `the model has two constant tensors named ${JSON.stringify(local)}`)
    locals.add(local)
    found.push({ at, place, local, tensor, initializer })
  }
  if ('initializer' in graph) {
    for (const proto of graph.initializer) add(proto, proto.name ?? '', readTensor(proto, external), true)
    for (const { values } of graph.sparseInitializer) {
      const name = values?.name ?? ''
      const why = `initializer ${JSON.stringify(name)} is a sparse tensor: save the model with dense ones`
      if (values) add(values, name, createUnreadableTensor('invalid-model', why), true)
    }
  }
  for (const node of graph.node) {
    if (isOwnConstant(node)) add(node, node.output[0] ?? '', readConstant(node, external), false)
    const inside = place === '' ? '' : `${place}/`
    for (const { name, g, graphs } of node.attribute)
      for (const body of g ? [g, ...graphs] : graphs)
        collect(body, `${inside}${node.name || node.output[0] || node.opType}/${name}`, external, found)
  }
}

/** A Constant whose value is its own, not an attribute of the function around it. */
const isOwnConstant = (node: NodeProto): boolean =>
  isConstant(node) && !node.attribute.some(({ refAttrName }) => refAttrName)
