import { dtypeOf } from '../ir/dtype.js'
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
import { rewrite } from './proto/rewrite.js'
import type { ModelProto, TensorProto } from './proto/schema.js'
import { countRawBytes, readTensor, toRawBytes } from './proto/tensor.js'

/** A model and the one data file that goes with it. */
export interface ModelLayout {
  readonly proto: ModelProto
  /** What goes where in the data file, in order; the bytes between are zero. Empty when there is no data file. */
  readonly pieces: readonly DataPiece[]
}

export interface DataPiece {
  readonly offset: number
  readonly length: number
  /** Reads or refers to the bytes; called once, when it is this piece's turn. */
  bytes(): Uint8Array
}

/** onnxruntime maps a data file into memory page by page. */
const pageBytes = 4096

/** From this size on a tensor is worth its own place outside of the model; what onnx itself uses. */
const defaultThreshold = 1024

/**
 * What goes into a model's file and what into a data file named `location` beside it. Without a wish, external tensors
 * stay external and others move out only from a model of more than `limit` bytes; `true` moves out large initializers, a
 * number those of so many bytes and more, and `false` moves everything in.
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
 * Puts a model's external tensors, and with a `threshold` also the initializers of its main graph that have at least so
 * many bytes, into one file named `location`. A model whose tensors already share one file keeps them where they are
 * in it, so that only replaced tensors change the file; otherwise they follow one another, the large ones on page
 * boundaries.
 */
function layOutExternal({ proto, external }: Model, location: string, threshold: number | null): ModelLayout {
  const outside = collectTensorProtos(proto).filter(isExternal)
  const moved =
    threshold === null ? [] : (proto.graph?.initializer ?? []).filter((tensor) => isMovable(tensor, threshold))
  const slots = moved.length === 0 && sharesOneFile(outside) ? readSlots(outside) : assignSlots([...outside, ...moved])

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
      bytes: () => (tensor ? readBytes(tensor, length, external) : new Uint8Array(0)),
    })),
  }
}

/** Tensors that share bytes, and where they lie. */
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
  if (tensor.rawData) return tensor.rawData.length
  const dtype = dtypeOf(tensor.dataType ?? 0)
  if (dtype) return countRawBytes(dtype, readTensor(tensor, null).dims)
  const { length } = readExternalRange(tensor)
  if (length === undefined) {
    throw new OnnxIreError(
      'external-data',
      `tensor ${JSON.stringify(tensor.name ?? '')} is external data without a length, of a type this library does not know`,
    )
  }
  return length
}

function readBytes(tensor: TensorProto, length: number, external: ExternalData | null): Uint8Array {
  if (tensor.rawData) return tensor.rawData
  if (dtypeOf(tensor.dataType ?? 0) || !external) return toRawBytes(readTensor(tensor, external))
  const { location, offset } = readExternalRange(tensor)
  return external.read(location, offset, length)
}

const rangeKey = (tensor: TensorProto): string => JSON.stringify(readExternalRange(tensor))

/** Tensors with the same range are tied; one whose elements were replaced is on its own. */
function groupByRange(tensors: readonly TensorProto[]): readonly (readonly TensorProto[])[] {
  const groups = new Map<TensorProto | string, TensorProto[]>()
  for (const tensor of tensors) {
    const key = isExternal(tensor) && !tensor.rawData ? rangeKey(tensor) : tensor
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

/** A hole that no alignment explains: the file is also used by others, or is no file anyone wrote. */
const maxGap = 2 ** 20

/** Whether the tensors lie in one file, without overlaps and large holes. */
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
