import { dtypes } from '../ir/dtype.js'
import { formatType, sizeOf, type Tensor, toRawBytes } from '../ir/tensor.js'
import { asciiCodes, builtInType } from '../util/bytes.js'
import { checkArguments, describeValue } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'
import { isWebPage, webPage } from '../util/web-page.js'
import { replaceConstant } from './proto/constant.js'
import { decode } from './proto/decode.js'
import { encodeChunks, joinChunks } from './proto/encode.js'
import {
  type ExternalData,
  embedRawData,
  isExternal,
  moveToExternalData,
  readExternalRange,
} from './proto/external-data.js'
import { edit, rewrite } from './proto/message.js'
import { minFileBytes } from './proto/model-file.js'
import type { ModelProto, NodeProto, TensorProto } from './proto/schema.js'
import { countRawData, fileRangeOf, readTensor, replaceData } from './proto/tensor.js'
import { locateTensors } from './tensor-locations.js'

/** A model file: its decoded message, and the source of its external data (null if it has none, or none was given). */
export interface Model {
  readonly proto: ModelProto
  readonly external: ExternalData | null
}

/** Throws `invalid-model` for a value that is not a model, with the call that makes a model of it. */
export function checkModel(model: unknown): asserts model is Model {
  const given = Object(model)
  if (given.proto?.graph) return
  throw new OnnxIreError('invalid-model', `the model is ${describeValue(model)}; ${remedy(given, model)}`)
}

const isBuffer = (bytes: unknown): bytes is ArrayBuffer => builtInType(bytes) === 'ArrayBuffer'

function remedy(given: { readonly [name: string]: unknown }, model: unknown): string {
  if (typeof model === 'string' || typeof given['href'] === 'string')
    return `read the file: await readModel('${model}') of 'onnx-ire/node' or 'onnx-ire/web'`
  if (isBuffer(model) || ArrayBuffer.isView(model)) return 'decode the bytes: decodeModel(bytes)'
  if (typeof given['export'] === 'function') return 'pass the model of a trainer: trainer.export()'
  if (builtInType(given['outputs']) === 'Map') return "make a model of a graph: modelOf(graph) of 'onnx-ire/graph'"
  return 'pass the result of readModel(path) or decodeModel(bytes)'
}

/** The largest protobuf message in bytes, and so the largest model file without external data. */
export const maxModelBytes = 2 ** 31 - 1

/**
 * Decodes an ONNX model from the bytes of a file. Its tensors are views of `bytes`, so do not write to them
 * afterwards.
 *
 * @param external the source of tensors in other files, for instance `externalFiles`
 * @throws OnnxIreError `invalid-model` if the bytes are not an ONNX model; the message names their format if it is
 *   known
 *
 * @example
 * ```ts
 * const response = await fetch('https://example.org/model.onnx')
 * const model = decodeModel(await response.arrayBuffer())
 * ```
 */
export function decodeModel(bytes: Uint8Array | ArrayBuffer, external: ExternalData | null = null): Model {
  if (isBuffer(bytes)) return decodeModel(new Uint8Array(bytes), external)
  if (builtInType(bytes) !== 'Uint8Array')
    throw new OnnxIreError(
      'invalid-model',
      `decodeModel: the bytes are ${describeValue(bytes)}; pass a Uint8Array, or read a file: await readModel(path)`,
    )
  const format = describeFormat(bytes)
  if (bytes.length === 0) throw new OnnxIreError('invalid-model', 'not an ONNX model: it has no bytes')
  let proto: ModelProto
  try {
    proto = decode('ModelProto', bytes)
  } catch (cause) {
    if (!format) throw cause
    throw new OnnxIreError('invalid-model', `not an ONNX model: ${format}`, { cause })
  }
  if (!proto.graph) {
    throw new OnnxIreError('invalid-model', `not an ONNX model: ${format ?? 'it has no graph'}`)
  }
  return { proto, external }
}

/**
 * Encodes a model as the bytes of a file. Everything that was not changed keeps the bytes from which it was decoded.
 *
 * @throws OnnxIreError `external-data` if tensors are in other files (use `embedExternalData` or `writeModel`), or if
 *   the model exceeds 2 GiB
 *
 * @example
 * ```ts
 * const tuned = replaceTensors(model, new Map([['fc.weight', weight]]))
 * const bytes = encodeModel(tuned)
 * ```
 */
export function encodeModel(model: Model): Uint8Array {
  checkModel(model)
  const { proto } = model
  const externalTensors = collectTensorProtos(proto).filter(isExternal)
  const [first] = externalTensors
  if (first) {
    throw new OnnxIreError(
      'external-data',
      `${externalTensors.length} tensors of the model are external data (first: ${JSON.stringify(first.name ?? '')}), which the bytes of the model cannot contain: write the model with writeModel, or call embedExternalData first`,
    )
  }
  const encoded = encodeChunks('ModelProto', proto)
  checkModelSize(encoded.size)
  return joinChunks(encoded)
}

/** Throws `external-data` for a model of more than 2 GiB. */
export function checkModelSize(bytes: number): void {
  if (bytes > maxModelBytes) {
    throw new OnnxIreError(
      'external-data',
      `the model has ${bytes} bytes, but a model file is limited to 2 GiB: write it with writeModel from 'onnx-ire/node', which moves its tensors to external data`,
    )
  }
}

/**
 * Moves the external tensors of a model into its message, so that `encodeModel` can encode it.
 *
 * @throws OnnxIreError `external-data` if they cannot be read, or if the model then exceeds 2 GiB
 *
 * @example
 * ```ts
 * const bytes = encodeModel(embedExternalData(decodeModel(modelBytes, externalFiles(files))))
 * ```
 */
export function embedExternalData(model: Model): Model {
  checkModel(model)
  const { proto, external } = model
  return { proto: embedExcept(proto, external, new Set()), external: null }
}

/**
 * As `embedExternalData`, but large tensors that are in files of the model's folder remain there.
 * @returns the message, and that folder if there is one
 */
export function embedBesideFiles({ proto, external }: Model): {
  readonly proto: ModelProto
  readonly folder?: string
} {
  let folder: string | undefined
  const inFiles = new Set<TensorProto>()
  const initializer = proto.graph!.initializer.map((tensor) => {
    const range = fileRangeOf(readTensor(tensor, external))
    if (!range || range.length < minFileBytes || (folder ?? range.folder) !== range.folder) return tensor
    folder = range.folder
    const moved = moveToExternalData(tensor, range)
    inFiles.add(moved)
    return moved
  })
  if (folder === undefined) return { proto: embedExcept(proto, external, inFiles) }
  const edited = edit(proto, { graph: edit(proto.graph!, { initializer }) })
  return { proto: embedExcept(edited, external, inFiles), folder }
}

/**
 * Moves the large tensors of a model's main graph out of the message, and embeds other external tensors; returns the
 * bytes of the large ones by location. Only the rest is limited to 2 GiB.
 */
export function separateWeights({ proto, external }: Model): {
  readonly proto: ModelProto
  readonly externalData: ReadonlyMap<string, Uint8Array>
} {
  const externalData = new Map<string, Uint8Array>()
  const moved = new Set<TensorProto>()
  const graph = proto.graph!
  const initializer = graph.initializer.map((tensor) => {
    const bytes = isExternal(tensor) ? toRawBytes(readTensor(tensor, external)) : tensor.rawData
    if (!bytes || bytes.length < minFileBytes) return tensor
    const location = `weight-${externalData.size}`
    externalData.set(location, bytes)
    const outside = moveToExternalData(tensor, { location, offset: 0, length: bytes.length })
    moved.add(outside)
    return outside
  })
  const edited = edit(proto, { graph: edit(graph, { initializer }) })
  return { proto: embedExcept(edited, external, moved), externalData }
}

/** Embeds external tensors, except some. */
function embedExcept(proto: ModelProto, external: Model['external'], excepted: ReadonlySet<TensorProto>): ModelProto {
  const isEmbedded = (tensor: TensorProto) => isExternal(tensor) && !excepted.has(tensor)
  const externalTensors = collectTensorProtos(proto).filter(isEmbedded)
  const lengths = externalTensors.map((tensor) => countRawData(tensor) ?? readExternalRange(tensor).length ?? 0)
  checkModelSize(lengths.reduce((sum, length) => sum + length, encodeChunks('ModelProto', proto).size))
  const embed = (tensor: TensorProto) =>
    isEmbedded(tensor) ? embedRawData(tensor, toRawBytes(readTensor(tensor, external))) : tensor
  return rewrite('ModelProto', proto, 'TensorProto', embed)
}

/** All tensors of a model: those of its graph, subgraphs, attributes and functions. */
export function collectTensorProtos(proto: ModelProto): readonly TensorProto[] {
  const found: TensorProto[] = []
  rewrite('ModelProto', proto, 'TensorProto', (tensor) => {
    found.push(tensor)
    return tensor
  })
  return found
}

/**
 * The constant tensors of a model (initializers and Constant nodes, also those in bodies and functions), by the names
 * that `importGraph` gives them. A tensor of the main graph has its own name; that of a Constant is the name of its
 * output. Elements are decoded when first read. A tensor that cannot be used (sparse, or of an unsupported type)
 * throws when its dtype, dims or data are read.
 *
 * @throws OnnxIreError `invalid-model` if two tensors have the same name or one is damaged
 *
 * @example
 * ```ts
 * for (const [name, { dtype, dims }] of namedTensors(model)) console.log(name, dtype, dims)
 * ```
 */
export function namedTensors(model: Model): Map<string, Tensor> {
  checkModel(model)
  return new Map([...locateTensors(model.proto, model.external).values()].map(({ name, tensor }) => [name, tensor]))
}

/**
 * Replaces the elements of some `namedTensors` of a model, in the same storage form. Everything else keeps its bytes.
 * The returned model refers to the elements of the new tensors until it is written.
 *
 * @throws OnnxIreError `invalid-data` if the model has no tensor of a name, or if dtype or dims differ
 *
 * @example
 * ```ts
 * const tuned = replaceTensors(model, new Map([['fc.bias', tensor('float32', [10], new Float32Array(10))]]))
 * ```
 */
export function replaceTensors(model: Model, replacements: ReadonlyMap<string, Tensor>): Model {
  checkArguments('replaceTensors(model, replacements)', { replacements })
  const tensors = namedTensors(model)
  for (const [name, tensor] of replacements) checkReplacement(name, tensors.get(name), tensor)
  const stored = locateTensors(model.proto, model.external)
  const replacement = (at: TensorProto | NodeProto) => replacements.get(stored.get(at)?.name ?? '')
  const initializer = (proto: TensorProto) => {
    const tensor = stored.has(proto) ? replacement(proto) : undefined
    return tensor ? replaceData(proto, tensor) : proto
  }
  const constant = (node: NodeProto) => {
    const tensor = stored.has(node) ? replacement(node) : undefined
    return tensor ? replaceConstant(node, tensor) : node
  }
  const inGraphs = rewrite('ModelProto', model.proto, 'GraphProto', (graph) =>
    editLists(graph, { initializer: graph.initializer.map(initializer), node: graph.node.map(constant) }),
  )
  const functions = inGraphs.functions.map((each) => editLists(each, { node: each.node.map(constant) }))
  return { ...model, proto: editLists(inGraphs, { functions }) }
}

/** Edits lists of a message, unless all their items are unchanged. */
function editLists<T extends object>(message: T, lists: Partial<T> & Readonly<Record<string, readonly object[]>>): T {
  const before = message as Readonly<Record<string, unknown>>
  const differs = Object.entries(lists).some(([key, items]) =>
    items.some((item, i) => item !== (getOwn(before, key) as readonly object[])[i]),
  )
  return differs ? edit(message, lists) : message
}

function checkReplacement(name: string, old: Tensor | undefined, tensor: Tensor): void {
  const reason = old ? findMismatch(old, tensor) : 'the model has no initializer or Constant node of this name'
  if (reason) throw new OnnxIreError('invalid-data', `cannot replace tensor ${JSON.stringify(name)}: ${reason}`)
}

function findMismatch(old: Tensor, tensor: Tensor): string | null {
  if (formatType(old) !== formatType(tensor)) return `it is ${formatType(old)}, the new tensor is ${formatType(tensor)}`
  const length = Math.ceil(sizeOf(old.dims) / (dtypes[old.dtype].bits === 4 ? 2 : 1))
  return length === tensor.data.length ? null : `the new tensor has ${tensor.data.length} elements, not ${length}`
}

interface Format {
  readonly offset: number
  readonly magic: readonly number[]
  readonly description: string
}

const format = (magic: string | readonly number[], description: string, offset = 0): Format => ({
  offset,
  magic: typeof magic === 'string' ? asciiCodes(magic) : magic,
  description,
})

/** Files that are mistaken for ONNX models, by their first bytes. */
const formats: readonly Format[] = [
  format('version https://git-lfs', 'it is a Git LFS pointer, not the model: run `git lfs pull` to fetch it'),
  format('{', 'it looks like JSON'),
  format('[', 'it looks like JSON'),
  format(
    'PK\x03\x04',
    'it is a zip archive (PyTorch saves such files): unpack it, or export the model with torch.onnx.export',
  ),
  format([0x80, 0x02], 'it is a Python pickle, as PyTorch saves: export the model with torch.onnx.export'),
  format([0x1f, 0x8b], 'it is gzip-compressed: unpack it first'),
  format('ORTM', "it is in onnxruntime's own .ort format: use the .onnx file it was converted from", 4),
  format('TFL3', 'it is a TensorFlow Lite model: convert it with tf2onnx', 4),
  format([0x89, ...asciiCodes('HDF')], 'it is an HDF5 file, as Keras saves: convert the model with tf2onnx'),
  format([0x89, ...asciiCodes('PNG')], 'it is a PNG image'),
  format([0xff, 0xd8, 0xff], 'it is a JPEG image'),
  format('%PDF', 'it is a PDF document'),
]

/** Describes bytes that are not an ONNX model by their file format; null if the format is unknown. */
function describeFormat(bytes: Uint8Array): string | null {
  if (isWebPage(bytes)) return webPage
  const found = formats.find(({ offset, magic }) => magic.every((byte, i) => bytes[offset + i] === byte))
  return found?.description ?? (isText(bytes.subarray(0, 256)) ? 'it is a text file' : null)
}

/** Whether bytes are text: without control characters but tabs and line ends. */
const isText = (bytes: Uint8Array): boolean =>
  bytes.length > 0 && bytes.every((byte) => byte >= 32 || byte === 9 || byte === 10 || byte === 13)
