import { dtypes } from '../ir/dtype.js'
import { sizeOf, type Tensor } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'
import { replaceConstant } from './proto/constant.js'
import { decode } from './proto/decode.js'
import { encodeChunks, joinChunks } from './proto/encode.js'
import { type ExternalData, embedRawData, isExternal, readExternalRange } from './proto/external-data.js'
import { describeFormat } from './proto/file-format.js'
import { edit } from './proto/message.js'
import { rewrite } from './proto/rewrite.js'
import type { ModelProto, NodeProto, TensorProto } from './proto/schema.js'
import { readTensor, replaceData, toRawBytes } from './proto/tensor.js'
import { locateTensors } from './tensor-locations.js'

/** A model as it stands in a file, and where the tensors are that lie outside of it. */
export interface Model {
  readonly proto: ModelProto
  readonly external: ExternalData | null
}

/** The most bytes a protobuf message, and so a model file without external data, may have. */
export const maxModelBytes = 2 ** 31 - 1

/**
 * Reads an ONNX model. Its tensors refer to `bytes`: do not write to them afterwards. Throws `invalid-model` when they are
 * not a model, saying what they are instead where that can be told.
 */
export function decodeModel(bytes: Uint8Array, external: ExternalData | null = null): Model {
  const format = describeFormat(bytes)
  if (bytes.length === 0) throw new OnnxIreError('invalid-model', 'not an ONNX model: there are no bytes in it')
  let proto: ModelProto
  try {
    proto = decode('ModelProto', bytes)
  } catch (cause) {
    if (!format) throw cause
    throw new OnnxIreError('invalid-model', `not an ONNX model: ${format}`, { cause })
  }
  if (!proto.graph) {
    throw new OnnxIreError('invalid-model', `not an ONNX model: ${format ?? 'there is no graph in it'}`)
  }
  return { proto, external }
}

/**
 * The bytes of a model: those it was decoded from wherever nothing was changed. Throws `external-data` when some of its
 * tensors lie in other files, and when it is too large for one message.
 */
export function encodeModel({ proto }: Model): Uint8Array {
  const outside = collectTensorProtos(proto).filter(isExternal)
  const [first] = outside
  if (first) {
    throw new OnnxIreError(
      'external-data',
      `${outside.length} tensors of the model (${JSON.stringify(first.name ?? '')} is the first) are external data, which its bytes alone cannot hold: write the model to a file with writeModel, or put them into it with embedExternalData`,
    )
  }
  const encoded = encodeChunks('ModelProto', proto)
  checkModelSize(encoded.size)
  return joinChunks(encoded)
}

export function checkModelSize(bytes: number): void {
  if (bytes > maxModelBytes) {
    throw new OnnxIreError(
      'external-data',
      `the model has ${bytes} bytes, more than the 2 GiB a model file may have: write it with writeModel from 'onnx-ire/node', which moves its tensors to external data`,
    )
  }
}

/** The model with its external tensors inside. Throws `external-data` when they cannot be read or exceed 2 GiB. */
export function embedExternalData({ proto, external }: Model): Model {
  const outside = collectTensorProtos(proto).filter(isExternal)
  const lengths = outside.map((tensor) => tensor.rawData?.length ?? readExternalRange(tensor).length ?? 0)
  checkModelSize(lengths.reduce((sum, length) => sum + length, encodeChunks('ModelProto', proto).size))
  const embed = (tensor: TensorProto) =>
    isExternal(tensor) ? embedRawData(tensor, toRawBytes(readTensor(tensor, external))) : tensor
  return { proto: rewrite('ModelProto', proto, 'TensorProto', embed), external: null }
}

/** Every tensor in the model: of its graph and subgraphs, its attributes and its functions. */
export function collectTensorProtos(proto: ModelProto): readonly TensorProto[] {
  const found: TensorProto[] = []
  rewrite('ModelProto', proto, 'TensorProto', (tensor) => {
    found.push(tensor)
    return tensor
  })
  return found
}

/**
 * The constant tensors of a model, initializers and Constant nodes, by the names that `importGraph` gives them: those of
 * the main graph by their own (a Constant's is its output's), those inside bodies and functions too. Their
 * elements are decoded when first read. One that cannot be used (sparse, or of a type this library does not carry)
 * throws when it is looked at. Throws `invalid-model` when two have the same name or one is damaged.
 */
export function namedTensors(model: Model): Map<string, Tensor> {
  if (!model.proto.graph) throw new OnnxIreError('invalid-model', 'the model has no graph')
  return new Map([...locateTensors(model.proto, model.external).values()].map(({ name, tensor }) => [name, tensor]))
}

/**
 * The model with other elements in some of its `namedTensors`, stored as the old ones were; everything else stays byte for
 * byte. The model refers to the new tensors' elements until it is written. Throws `invalid-data` when a name is not in the
 * model or a tensor has another dtype or other dims.
 */
export function replaceTensors(model: Model, replacements: ReadonlyMap<string, Tensor>): Model {
  const tensors = namedTensors(model)
  for (const [name, tensor] of replacements) checkReplacement(name, tensors.get(name), tensor)
  const sites = locateTensors(model.proto, model.external)
  const replacement = (at: TensorProto | NodeProto) => replacements.get(sites.get(at)?.name ?? '')
  const initializer = (proto: TensorProto) => {
    const tensor = sites.has(proto) ? replacement(proto) : undefined
    return tensor ? replaceData(proto, tensor) : proto
  }
  const constant = (node: NodeProto) => {
    const tensor = sites.has(node) ? replacement(node) : undefined
    return tensor ? replaceConstant(node, tensor) : node
  }
  const inGraphs = rewrite('ModelProto', model.proto, 'GraphProto', (graph) =>
    editLists(graph, { initializer: graph.initializer.map(initializer), node: graph.node.map(constant) }),
  )
  const functions = inGraphs.functions.map((each) => editLists(each, { node: each.node.map(constant) }))
  return { ...model, proto: editLists(inGraphs, { functions }) }
}

/** An edit of lists, unless their items are what they were. */
function editLists<T extends object>(message: T, lists: Partial<T> & Readonly<Record<string, readonly object[]>>): T {
  const before = message as Readonly<Record<string, unknown>>
  const differs = Object.entries(lists).some(([key, items]) =>
    items.some((item, i) => item !== (before[key] as readonly object[])[i]),
  )
  return differs ? edit(message, lists) : message
}

function checkReplacement(name: string, old: Tensor | undefined, tensor: Tensor): void {
  const reason = old ? findMismatch(old, tensor) : 'the model has no initializer and no Constant node of that name'
  if (reason) throw new OnnxIreError('invalid-data', `cannot replace tensor ${JSON.stringify(name)}: ${reason}`)
}

function findMismatch(old: Tensor, tensor: Tensor): string | null {
  const show = ({ dtype, dims }: Tensor) => `${dtype} [${dims.join(', ')}]`
  if (show(old) !== show(tensor)) return `it is ${show(old)}, the new one is ${show(tensor)}`
  const length = Math.ceil(sizeOf(old.dims) / (dtypes[old.dtype].bits === 4 ? 2 : 1))
  return length === tensor.data.length ? null : `the new one has ${tensor.data.length} elements, not ${length}`
}
