import { OnnxIreError } from '../errors.js'
import { dtypeOf, dtypes } from '../ir/dtype.js'
import { type ExternalData, type ExternalRange, externalRange, isExternal, withExternalRange } from './external.js'
import type { Model } from './model.js'
import { tensorProtos } from './model.js'
import type { ModelProto, TensorProto } from './schema.js'
import { rawBytes, tensorOf } from './tensor.js'
import { rewrite } from './walk.js'

/** A model and the one data file that goes with it. */
export interface Layout {
  readonly proto: ModelProto
  /** What goes where in the data file, in order; the bytes between are zero. Empty when there is no data file. */
  readonly pieces: readonly Piece[]
}

export interface Piece {
  readonly offset: number
  readonly length: number
  /** Reads or refers to the bytes; called once, when it is this piece's turn. */
  bytes(): Uint8Array
}

/** onnxruntime maps a data file into memory page by page. */
const page = 4096

/**
 * Puts a model's external tensors, and with a `threshold` also the initializers of its main graph that have at least so
 * many bytes, into one file named `location`. A model whose tensors already share one file keeps them where they are
 * in it, so that only replaced tensors change the file; otherwise they follow one another, the large ones on page
 * boundaries.
 */
export function layOut({ proto, external }: Model, location: string, threshold: number | null): Layout {
  const outside = tensorProtos(proto).filter(isExternal)
  const moved =
    threshold === null ? [] : (proto.graph?.initializer ?? []).filter((tensor) => isMovable(tensor, threshold))
  const slots = moved.length === 0 && sharesOneFile(outside) ? placesOf(outside) : placed([...outside, ...moved])

  const ranges = new Map<TensorProto, ExternalRange & { length: number }>()
  for (const { tensors, offset, length } of slots) {
    for (const tensor of tensors) ranges.set(tensor, { location, offset, length })
  }
  return {
    proto: rewrite('ModelProto', proto, 'TensorProto', (tensor) => {
      const range = ranges.get(tensor)
      return range ? withExternalRange(tensor, range) : tensor
    }),
    pieces: slots.map(({ tensors: [tensor], offset, length }) => ({
      offset,
      length,
      bytes: () => (tensor ? bytesOf(tensor, length, external) : new Uint8Array(0)),
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
  return !isExternal(tensor) && dtype !== undefined && dtype !== 'string' && sizeOf(tensor) >= threshold
}

function sizeOf(tensor: TensorProto): number {
  if (tensor.rawData) return tensor.rawData.length
  const dtype = dtypeOf(tensor.dataType ?? 0)
  if (dtype) {
    const { dims } = tensorOf(tensor, null)
    return Math.ceil((dims.reduce((product, dim) => product * dim, 1) * dtypes[dtype].bits) / 8)
  }
  const { length } = externalRange(tensor)
  if (length === undefined) {
    throw new OnnxIreError(
      'external-data',
      `tensor ${JSON.stringify(tensor.name ?? '')} is external data without a length, of a type this library does not know`,
    )
  }
  return length
}

function bytesOf(tensor: TensorProto, length: number, external: ExternalData | null): Uint8Array {
  if (tensor.rawData) return tensor.rawData
  if (dtypeOf(tensor.dataType ?? 0) || !external) return rawBytes(tensorOf(tensor, external))
  const { location, offset } = externalRange(tensor)
  return external.read(location, offset, length)
}

const rangeKey = (tensor: TensorProto): string => JSON.stringify(externalRange(tensor))

/** Tensors with the same range are tied; one whose elements were replaced is on its own. */
function tied(tensors: readonly TensorProto[]): readonly (readonly TensorProto[])[] {
  const groups = new Map<TensorProto | string, TensorProto[]>()
  for (const tensor of tensors) {
    const key = isExternal(tensor) && !tensor.rawData ? rangeKey(tensor) : tensor
    const group = groups.get(key)
    if (group) group.push(tensor)
    else groups.set(key, [tensor])
  }
  return [...groups.values()]
}

const lengthOf = ([tensor]: readonly TensorProto[]): number => (tensor ? sizeOf(tensor) : 0)

function placesOf(tensors: readonly TensorProto[]): readonly Slot[] {
  return tied(tensors)
    .map((tensors) => ({
      tensors,
      offset: tensors[0] ? externalRange(tensors[0]).offset : 0,
      length: lengthOf(tensors),
    }))
    .sort((a, b) => a.offset - b.offset)
}

/** Whether the tensors lie in one file without overlapping. */
function sharesOneFile(tensors: readonly TensorProto[]): boolean {
  if (new Set(tensors.map((tensor) => externalRange(tensor).location)).size > 1) return false
  let end = 0
  for (const { offset, length } of placesOf(tensors)) {
    if (offset < end) return false
    end = offset + length
  }
  return true
}

function placed(tensors: readonly TensorProto[]): readonly Slot[] {
  let end = 0
  return tied(tensors).map((tensors) => {
    const length = lengthOf(tensors)
    const alignment = length >= page ? page : 16
    const offset = Math.ceil(end / alignment) * alignment
    end = offset + length
    return { tensors, offset, length }
  })
}
