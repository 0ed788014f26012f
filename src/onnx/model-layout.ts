import { dtypeOf } from '../ir/dtype.js'
import { toRawBytes } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'
import { collectTensorProtos, embedExternalData, type Model, maxModelBytes } from './model.js'
import { encodeChunks } from './proto/encode.js'
import {
  type ExternalData,
  type ExternalRange,
  isExternal,
  moveToExternalData,
  readExternalRange,
} from './proto/external-data.js'
import { rewrite } from './proto/message.js'
import { fileBytesOf } from './proto/model-file.js'
import type { ModelProto, TensorProto } from './proto/schema.js'
import { countRawBytes, countRawData, readTensor } from './proto/tensor.js'

/** A model message and the content of its data file. */
interface ModelLayout {
  readonly proto: ModelProto
  /** The pieces of the data file in order; bytes between them are zero. Empty if the model has no data file. */
  readonly pieces: readonly DataPiece[]
}

export interface DataPiece {
  readonly offset: number
  readonly length: number
  /** Returns the bytes in blocks, possibly as views. Called once, when the piece is written. */
  blocks(): Iterable<Uint8Array>
}

/** The page size by which onnxruntime maps a data file into memory. */
const pageBytes = 4096

/** The size in bytes from which tensors are moved to external data, as in the Python package onnx. */
const defaultThreshold = 1024

/**
 * Lays out a model for a model file and a data file named `location` next to it.
 *
 * @param externalData `true` moves large initializers to the data file, a number those of at least so many bytes;
 *   `false` moves all tensors into the model file. By default external tensors remain external, and large
 *   initializers move to the data file only if the model file would exceed `limit` bytes.
 */
export function layOutModel(
  model: Model,
  location: string,
  externalData: boolean | number | undefined,
  limit = maxModelBytes,
): ModelLayout {
  if (externalData === false) return { proto: embedExternalData(model).proto, pieces: [] }
  if (externalData !== undefined)
    return layOutExternal(model, location, externalData === true ? defaultThreshold : externalData)
  const layout = layOutExternal(model, location, null)
  const isTooLarge = encodeChunks('ModelProto', layout.proto).size > limit
  return isTooLarge ? layOutExternal(model, location, defaultThreshold) : layout
}

/**
 * Moves the external tensors of a model, and the initializers of its main graph that have at least `threshold` bytes
 * (none for null), to one file named `location`. If all external tensors already share a file and none is added, they
 * keep their offsets, so that only replaced tensors change the file. Otherwise they follow one another, large ones at
 * page boundaries.
 */
function layOutExternal({ proto, external }: Model, location: string, threshold: number | null): ModelLayout {
  const externalTensors = collectTensorProtos(proto).filter(isExternal)
  const moved =
    threshold === null ? [] : (proto.graph?.initializer ?? []).filter((tensor) => isMovable(tensor, threshold))
  const slots =
    moved.length === 0 && sharesOneFile(externalTensors)
      ? readSlots(externalTensors)
      : assignSlots([...externalTensors, ...moved])

  const ranges = new Map<TensorProto, ExternalRange & { length: number }>()
  for (const { tensors, offset, length } of slots) {
    for (const tensor of tensors) ranges.set(tensor, { location, offset, length })
  }
  return {
    proto: rewrite('ModelProto', proto, 'TensorProto', (tensor) => {
      const range = ranges.get(tensor)
      return range ? moveToExternalData(tensor, range) : tensor
    }),
    pieces: slots.map(({ tensors: [tensor], offset, length }) => ({
      offset,
      length,
      blocks: () => (tensor ? readBlocks(tensor, length, external) : []),
    })),
  }
}

/** Tensors that share bytes, and their range in the data file. */
interface Slot {
  readonly tensors: readonly TensorProto[]
  readonly offset: number
  readonly length: number
}

function isMovable(tensor: TensorProto, threshold: number): boolean {
  const dtype = dtypeOf(tensor.dataType ?? 0)
  return !isExternal(tensor) && dtype !== undefined && dtype !== 'string' && storedBytes(tensor) >= threshold
}

function storedBytes(tensor: TensorProto): number {
  const stored = countRawData(tensor)
  if (stored !== undefined) return stored
  const dtype = dtypeOf(tensor.dataType ?? 0)
  if (dtype) return countRawBytes(dtype, readTensor(tensor, null).dims)
  const { length } = readExternalRange(tensor)
  if (length === undefined) {
    throw new OnnxIreError(
      'external-data',
      `tensor ${JSON.stringify(tensor.name ?? '')} is external data of an unsupported type and without a length`,
    )
  }
  return length
}

/** Bytes of external data that are in memory at a time while a model is written. */
const blockBytes = 2 ** 22

function* readBlocks(tensor: TensorProto, length: number, external: ExternalData | null): Generator<Uint8Array> {
  const inFile = fileBytesOf(tensor)
  if (inFile) {
    yield* inFile.blocks()
    return
  }
  if (!isExternal(tensor) || tensor.rawData || !external) {
    yield tensor.rawData ?? toRawBytes(readTensor(tensor, external))
    return
  }
  // Checks dims and length.
  if (dtypeOf(tensor.dataType ?? 0)) readTensor(tensor, external)
  const { location, offset } = readExternalRange(tensor)
  try {
    for (let at = 0; at < length; at += blockBytes)
      yield external.read(location, offset + at, Math.min(blockBytes, length - at))
  } catch (cause) {
    if (!(cause instanceof OnnxIreError)) throw cause
    const label = `tensor ${JSON.stringify(tensor.name ?? '')} (${length} bytes)`
    throw new OnnxIreError(cause.code, `${label}: ${cause.message}`, { cause })
  }
}

const rangeKey = (tensor: TensorProto): string => JSON.stringify(readExternalRange(tensor))

/** Groups tensors with the same range. A tensor whose elements were replaced is a group of its own. */
function groupByRange(tensors: readonly TensorProto[]): readonly (readonly TensorProto[])[] {
  const groups = new Map<TensorProto | string, TensorProto[]>()
  for (const tensor of tensors) {
    const key = isExternal(tensor) && countRawData(tensor) === undefined ? rangeKey(tensor) : tensor
    const group = groups.get(key)
    if (group) group.push(tensor)
    else groups.set(key, [tensor])
  }
  return [...groups.values()]
}

const slotLength = ([tensor]: readonly TensorProto[]): number => (tensor ? storedBytes(tensor) : 0)

function readSlots(tensors: readonly TensorProto[]): readonly Slot[] {
  return groupByRange(tensors)
    .map((tensors) => ({
      tensors,
      offset: tensors[0] ? readExternalRange(tensors[0]).offset : 0,
      length: slotLength(tensors),
    }))
    .sort((a, b) => a.offset - b.offset)
}

/** The largest gap between tensors that alignment explains. A larger one means that the file is also used by others. */
const maxGap = 2 ** 20

/** Whether the tensors are in one file, without overlaps and large gaps. */
function sharesOneFile(tensors: readonly TensorProto[]): boolean {
  if (new Set(tensors.map((tensor) => readExternalRange(tensor).location)).size > 1) return false
  let end = 0
  for (const { offset, length } of readSlots(tensors)) {
    if (offset < end || offset - end > maxGap) return false
    end = offset + length
  }
  return true
}

function assignSlots(tensors: readonly TensorProto[]): readonly Slot[] {
  let end = 0
  return groupByRange(tensors).map((tensors) => {
    const length = slotLength(tensors)
    const alignment = length >= pageBytes ? pageBytes : 16
    const offset = Math.ceil(end / alignment) * alignment
    end = offset + length
    return { tensors, offset, length }
  })
}
