import { bytesOf } from '../../util/bytes.js'
import { messageOf, OnnxIreError } from '../../util/errors.js'
import {
  type Field,
  isMessage,
  type MessageType,
  messageTypes,
  type PackedArray,
  type PackedKind,
  packedArrays,
  type ScalarKind,
} from './fields.js'
import { setOrigin } from './message.js'
import { deferRawData } from './model-file.js'
import type { MessageName, Messages } from './schema.js'
import { createReader, type Reader, readEnd, readPacked, readScalar, skipValue, wireTypeOf } from './wire.js'

/** The deepest nesting of messages. It is the limit of protobuf, so every model that onnxruntime opens is within it. */
export const maxMessageDepth = 100

/**
 * Decodes a message. The result is frozen. Its bytes and packed floats are views of `bytes`, which must not change
 * afterwards, and it keeps a reference to its own bytes (see `edit`). Raw data that a registered `ModelFile` did not
 * read are read when they are used.
 *
 * @throws OnnxIreError `invalid-model` with the path of the field and the byte at which the input is damaged
 */
export function decode<M extends MessageName>(type: M, bytes: Uint8Array): Messages[M] {
  // Views of a Buffer would be Buffers: views of a Uint8Array are not.
  const reader = createReader(bytesOf(bytes))
  const state: State = { path: [], copyable: maxCopies * bytes.length }
  try {
    return decodeMessage(reader, messageTypes[type], reader.len, state) as Messages[M]
  } catch (cause) {
    const place = state.path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join('')
    const reason = messageOf(cause)
    throw new OnnxIreError(
      'invalid-model',
      `${type}${place} is damaged or truncated at byte ${reader.pos}: ${reason}`,
      {
        cause,
      },
    )
  }
}

type Draft = Record<string, unknown>

interface State {
  /** Path of the field that is being decoded. */
  readonly path: (string | number)[]
  /** Number of bytes that may still be copied to merge messages. */
  copyable: number
}

/**
 * Largest number of times that the bytes of a file are copied to merge messages that occur in several parts. Files that were appended
 * to each other need one copy; parts within parts could need one per level.
 */
const maxCopies = 2

interface Span {
  readonly start: number
  readonly end: number
}

/** Decodes the message that ends at `end`. If this function throws, `state.path` is the path of the damaged field. */
function decodeMessage(reader: Reader, type: MessageType, end: number, state: State): object {
  const { path } = state
  const { pos: start, len: outerEnd, buf: bytes } = reader
  reader.len = end
  const draft: Draft = { ...type.empty }
  setOrigin(draft, { message: draft, bytes, start, end })
  let lists: Map<Field, unknown[]> | null = null
  let children: Map<Field, Span[]> | null = null
  while (reader.pos < end) {
    const tag = reader.tag()
    const field = type.byNumber.get(tag >>> 3)
    if (!field) {
      skipValue(reader, tag)
      continue
    }
    path.push(field.name)
    const run = isPackedRun(field, tag & 7)
    if (field.group) clearOneof(type, field, draft, children)
    if (field.form === 'one') {
      if (isMessage(field.kind)) {
        const end = readEnd(reader)
        children ??= new Map()
        listOf(children, field).push({ start: reader.pos, end })
        reader.pos = end
      } else {
        draft[field.name] = readScalar(reader, field.kind)
      }
    } else {
      lists ??= new Map()
      const list = listOf(lists, field)
      path.push(list.length)
      if (run) {
        const values = readPacked(reader, field.kind as PackedKind)
        if (field.form !== 'many') list.push(values)
        else for (const value of values) list.push(value)
      } else {
        list.push(
          isMessage(field.kind)
            ? decodeChild(reader, field.kind, readEnd(reader), state)
            : readScalar(reader, field.kind as ScalarKind),
        )
      }
      path.pop()
    }
    path.pop()
  }
  if (lists) {
    for (const [field, list] of lists) {
      draft[field.name] = field.form !== 'many' ? joinPieces(field.kind as PackedKind, list) : Object.freeze(list)
    }
  }
  if (children) {
    for (const [field, spans] of children) {
      path.push(field.name)
      draft[field.name] = decodeMerged(reader, field, spans, state)
      path.pop()
    }
  }
  if (type === messageTypes.TensorProto) deferRawData(draft)
  reader.pos = end
  reader.len = outerEnd
  return Object.freeze(draft)
}

function decodeChild(reader: Reader, kind: MessageName, end: number, state: State): object {
  const { path } = state
  // Every level adds a name to the path, and an index if the field is a list.
  if (path.length > maxMessageDepth && path.filter((step) => typeof step === 'string').length > maxMessageDepth) {
    throw new RangeError(`messages are nested more than ${maxMessageDepth} deep`)
  }
  return decodeMessage(reader, messageTypes[kind], end, state)
}

/**
 * Decodes a message field that occurs once or more. Occurrences merge, which equals decoding their concatenated
 * bytes.
 */
function decodeMerged(reader: Reader, field: Field, spans: readonly Span[], state: State): object {
  const kind = field.kind as MessageName
  const [first] = spans
  if (spans.length === 1 && first) {
    reader.pos = first.start
    return decodeChild(reader, kind, first.end, state)
  }
  const total = spans.reduce((size, { start, end }) => size + end - start, 0)
  state.copyable -= total
  if (state.copyable < 0) throw new RangeError('too many messages within each other occur in several parts')
  const merged = new Uint8Array(total)
  let size = 0
  for (const { start, end } of spans) {
    merged.set(reader.buf.subarray(start, end), size)
    size += end - start
  }
  return decodeChild(createReader(merged), kind, size, state)
}

/** Whether the field is packed. Lists of numbers are read in both encodings, packed and one by one. */
function isPackedRun(field: Field, wireType: number): boolean {
  const expected = wireTypeOf(field.kind)
  if (wireType === expected) return false
  if (wireType === 2 && field.form !== 'one') return true
  throw new TypeError(`field ${field.number} has wire type ${wireType}, not ${expected}`)
}

/** Removes the other fields of the oneof that `field` belongs to: the last field read is the one that counts. */
function clearOneof(type: MessageType, field: Field, draft: Draft, children: Map<Field, Span[]> | null): void {
  for (const other of type.fields) {
    if (other.group !== field.group || other === field) continue
    delete draft[other.name]
    children?.delete(other)
  }
}

function listOf<K, V>(lists: Map<K, V[]>, key: K): V[] {
  const known = lists.get(key)
  if (known) return known
  const list: V[] = []
  lists.set(key, list)
  return list
}

/** One typed array from packed runs and single numbers. A single run, the usual case, is returned as it is. */
function joinPieces(kind: PackedKind, pieces: readonly unknown[]): PackedArray {
  if (pieces.length === 1 && ArrayBuffer.isView(pieces[0])) return pieces[0] as PackedArray
  const length = pieces.reduce<number>(
    (sum, piece) => sum + (ArrayBuffer.isView(piece) ? (piece as PackedArray).length : 1),
    0,
  )
  const values = new packedArrays[kind](length)
  let at = 0
  for (const piece of pieces) {
    if (ArrayBuffer.isView(piece)) {
      // The pieces are of the kind of `values`: numbers with numbers, bigints with bigints.
      values.set(piece as never, at)
      at += (piece as PackedArray).length
    } else {
      values[at++] = piece as never
    }
  }
  return values
}
