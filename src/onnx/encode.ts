import { OnnxIreError } from '../errors.js'
import { maxDepth } from './decode.js'
import { type Field, isMessage, messageTypes, type PackedArray, type PackedKind } from './fields.js'
import { type Origin, originOf } from './message.js'
import {
  type Occurrence,
  occurrences,
  packedBytes,
  utf8Of,
  type Writer,
  wireTypeOf,
  writer,
  writeScalar,
  writeTag,
} from './proto.js'
import type { MessageName, Messages } from './schema.js'

/**
 * Encodes a message. What was decoded and not edited is copied as it was; an edited message keeps the order, the unknown
 * fields and the way of writing of everything that was not changed; a new one is written in the order of field numbers.
 */
export function encode<M extends MessageName>(type: M, message: Messages[M]): Uint8Array {
  const { size, chunks } = encodeChunks(type, message)
  const bytes = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

export interface Encoded {
  /** Bytes of all chunks together. */
  readonly size: number
  /** Mostly views of the tensors and of the input, so that a large model is not held a second time. */
  readonly chunks: readonly Uint8Array[]
}

/** `encode` for a file or a stream. */
export function encodeChunks<M extends MessageName>(type: M, message: Messages[M]): Encoded {
  const out = new Output()
  encodeMessage(out, type, message, 0)
  const chunks: Uint8Array[] = []
  out.flatten(chunks)
  return { size: out.size, chunks }
}

/** Bytes in the making: pieces that are views of others' bytes, nested outputs, and what a writer has written between. */
class Output {
  size = 0
  readonly #pieces: (Uint8Array | Output)[] = []
  #writer: Writer | null = null

  add(piece: Uint8Array | Output): void {
    this.#flush()
    this.#pieces.push(piece)
    this.size += piece instanceof Output ? piece.size : piece.length
  }

  write(put: (writer: Writer) => void): void {
    this.#writer ??= writer()
    const before = this.#writer.len
    put(this.#writer)
    this.size += this.#writer.len - before
  }

  flatten(chunks: Uint8Array[]): void {
    this.#flush()
    for (const piece of this.#pieces) {
      if (piece instanceof Output) piece.flatten(chunks)
      else if (piece.length > 0) chunks.push(piece)
    }
  }

  #flush(): void {
    if (this.#writer) this.#pieces.push(this.#writer.finish())
    this.#writer = null
  }
}

function encodeMessage(out: Output, type: MessageName, message: object, depth: number): void {
  if (depth > maxDepth) {
    throw new OnnxIreError(
      'invalid-model',
      `a ${type} is nested more than ${maxDepth} messages deep: no reader opens that`,
    )
  }
  const origin = originOf(message)
  if (!origin) {
    for (const field of messageTypes[type].fields) encodeField(out, field, fieldValue(message, field), depth)
  } else if (origin.message === message) {
    out.add(origin.bytes.subarray(origin.start, origin.end))
  } else {
    encodeEdited(out, type, message, origin, depth)
  }
}

/** Walks the bytes the message had before it was edited and replaces the fields that changed where they stood. */
function encodeEdited(out: Output, type: MessageName, message: object, origin: Origin, depth: number): void {
  const { byNumber, fields } = messageTypes[type]
  const seen = new Map<Field, number>()
  for (const occurrence of occurrences(origin.bytes, origin.start, origin.end)) {
    const field = byNumber.get(occurrence.number)
    const nth = field ? (seen.get(field) ?? 0) : 0
    if (field) seen.set(field, nth + 1)
    const was = field && fieldValue(origin.message, field)
    const is = field && fieldValue(message, field)
    if (!field || Object.is(was, is)) {
      out.add(origin.bytes.subarray(occurrence.start, occurrence.end))
    } else if (field.form === 'many' && wireTypeOf(field.kind) === 2) {
      // Element by element: the nth gives way to the new nth, and the last is followed by what there is more.
      const before = was as readonly unknown[]
      const after = is as readonly unknown[]
      const last = nth === before.length - 1
      if (nth < after.length && Object.is(before[nth], after[nth])) {
        out.add(origin.bytes.subarray(occurrence.start, occurrence.end))
      } else if (nth < after.length) {
        encodeDelimited(out, field, after[nth], depth, { occurrence, bytes: origin.bytes })
      }
      if (last) for (const item of after.slice(before.length)) encodeDelimited(out, field, item, depth)
    } else if (nth === 0) {
      encodeField(out, field, is, depth, { occurrence, bytes: origin.bytes })
    }
  }
  for (const field of fields) {
    if (!seen.has(field)) encodeField(out, field, fieldValue(message, field), depth)
  }
}

/** How the field that a new value replaces was written. */
interface Replaced {
  readonly occurrence: Occurrence
  readonly bytes: Uint8Array
}

const fieldValue = (message: object, field: Field): unknown =>
  (message as Readonly<Record<string, unknown>>)[field.name]

function encodeField(out: Output, field: Field, value: unknown, depth: number, replaced?: Replaced): void {
  if (value === undefined) return
  const wireType = wireTypeOf(field.kind)
  if (field.form === 'one') {
    if (wireType === 2) encodeDelimited(out, field, value, depth, replaced)
    else encodeNumber(out, field, value as number | bigint)
    return
  }
  const list = value as readonly unknown[] | PackedArray
  if (list.length === 0) return
  if (wireType === 2) {
    for (const item of list) encodeDelimited(out, field, item, depth)
  } else if (replaced ? replaced.occurrence.wireType === 2 : field.form === 'packed') {
    delimit(
      out,
      field,
      packedBytes(field.kind as PackedKind, list as PackedArray | readonly (number | bigint)[]),
      replaced,
    )
  } else {
    for (const item of list) encodeNumber(out, field, item as number | bigint)
  }
}

const encodeNumber = (out: Output, { number, kind }: Field, value: number | bigint): void =>
  out.write((writer) => writeScalar(writeTag(writer, number, wireTypeOf(kind)), kind as PackedKind, value))

function encodeDelimited(out: Output, field: Field, value: unknown, depth: number, replaced?: Replaced): void {
  if (isMessage(field.kind)) {
    const content = new Output()
    encodeMessage(content, field.kind, value as object, depth + 1)
    delimit(out, field, content, replaced)
  } else {
    delimit(out, field, typeof value === 'string' ? utf8Of(value) : (value as Uint8Array), replaced)
  }
}

/** Tag, length and content; the old tag and length where the length stays, however long they were written. */
function delimit(out: Output, { number }: Field, content: Uint8Array | Output, replaced?: Replaced): void {
  const size = content instanceof Output ? content.size : content.length
  if (replaced && replaced.occurrence.end - replaced.occurrence.body === size) {
    out.add(replaced.bytes.subarray(replaced.occurrence.start, replaced.occurrence.body))
  } else {
    out.write((writer) => writeTag(writer, number, 2).uint32(size))
  }
  out.add(content)
}
