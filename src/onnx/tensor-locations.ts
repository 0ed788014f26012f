import type { Tensor } from '../ir/tensor.js'
import { claimName } from '../util/claim-name.js'
import { OnnxIreError } from '../util/errors.js'
import { isConstant, readConstant } from './proto/constant.js'
import type { ExternalData } from './proto/external-data.js'
import type { FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto } from './proto/schema.js'
import { createUnreadableTensor, readTensor } from './proto/tensor.js'

/**
 * A constant tensor stored in a model: an initializer or a Constant node of the main graph, of a body or of a
 * function.
 */
export interface StoredTensor {
  /** A name that no other tensor of the model has. */
  readonly name: string
  /** The name by which nodes of the same graph read the tensor. */
  readonly local: string
  readonly tensor: Tensor
  readonly initializer: boolean
}

interface Location extends Omit<StoredTensor, 'name'> {
  readonly proto: TensorProto | NodeProto
  /** The path of the body or function that contains the tensor; '' for the main graph. */
  readonly path: string
}

/**
 * Finds every constant tensor of a model, by the message that contains it. Tensors of the main graph have their own
 * names. A tensor of a body or function has its own name if that is unique, otherwise its path:
 * `If_0/then_branch/weight`.
 *
 * @throws OnnxIreError `invalid-model` if two tensors of a graph have the same name or one is damaged
 */
export function locateTensors(
  { graph, functions }: ModelProto,
  external: ExternalData | null,
): ReadonlyMap<TensorProto | NodeProto, StoredTensor> {
  const locations: Location[] = []
  if (graph) collect(graph, '', external, locations)
  for (const each of functions) collect(each, each.name ?? '', external, locations)
  const counts = new Map<string, number>()
  for (const { local } of locations) counts.set(local, (counts.get(local) ?? 0) + 1)
  const taken = new Set(graph ? listNames(graph) : [])
  return new Map(
    locations.map(({ proto, path, local, tensor, initializer }) => {
      const isUnique = counts.get(local) === 1 && !taken.has(local)
      const name = path === '' ? local : claimName(isUnique ? local : `${path}/${local}`, taken)
      return [proto, { name, local, tensor, initializer }]
    }),
  )
}

const listNames = ({ initializer, input, node, output }: GraphProto): readonly string[] => [
  ...[...initializer, ...input, ...output].map(({ name = '' }) => name),
  ...node.flatMap(({ output }) => output),
]

function collect(
  graph: GraphProto | FunctionProto,
  path: string,
  external: ExternalData | null,
  locations: Location[],
): void {
  const locals = new Set<string>()
  const add = (proto: TensorProto | NodeProto, local: string, tensor: Tensor, initializer: boolean) => {
    if (locals.has(local))
      throw new OnnxIreError('invalid-model', `the model has two constant tensors named ${JSON.stringify(local)}`)
    locals.add(local)
    locations.push({ proto, path, local, tensor, initializer })
  }
  if ('initializer' in graph) {
    for (const proto of graph.initializer) add(proto, proto.name ?? '', readTensor(proto, external), true)
    for (const { values } of graph.sparseInitializer) {
      const name = values?.name ?? ''
      const why = `initializer ${JSON.stringify(name)} is a sparse tensor, which is not supported: save the model with dense tensors`
      if (values) add(values, name, createUnreadableTensor('invalid-model', why), true)
    }
  }
  for (const node of graph.node) {
    if (hasOwnValue(node)) add(node, node.output[0] ?? '', readConstant(node, external), false)
    const prefix = path === '' ? '' : `${path}/`
    for (const { name, g, graphs } of node.attribute)
      for (const body of g ? [g, ...graphs] : graphs)
        collect(body, `${prefix}${node.name || node.output[0] || node.opType}/${name}`, external, locations)
  }
}

/** Whether a node is a Constant whose value does not refer to an attribute of the enclosing function. */
const hasOwnValue = (node: NodeProto): boolean =>
  isConstant(node) && !node.attribute.some(({ refAttrName }) => refAttrName)
