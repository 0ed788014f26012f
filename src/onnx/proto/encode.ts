import { OnnxIreError } from '../../util/errors.js'
import { maxMessageDepth } from './decode.js'
import { type Field, isMessage, messageTypes, type PackedArray, type PackedKind } from './fields.js'
import { getOrigin, type Origin } from './message.js'
import type { MessageName, Messages } from './schema.js'
import {
  createWriter,
  encodeUtf8,
  type Occurrence,
  readOccurrences,
  toPackedBytes,
  type Writer,
  wireTypeOf,
  writeNumber,
  writeTag,
  writeText,
} from './wire.js'

/**
 * Encodes a message. What was decoded and not edited is copied as it was; an edited message keeps the order, the unknown
 * fields and the way of writing of everything that was not changed; a new one is written in the order of field numbers.
 */
export const encode = <M extends MessageName>(type: M, message: Messages[M]): Uint8Array =>
  joinChunks(encodeChunks(type, message))

export function joinChunks({ size, chunks }: Encoded): Uint8Array {
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
  return { size: out.size, chunks: out.take() }
}

/** Up to this size copying bytes costs less than keeping track of them. */
const maxCopiedBytes = 4096

/** Bytes in the making: what is small goes through a writer, what is large is referred to. */
class Output {
  size = 0
  readonly #writer = createWriter()
  #chunks: Uint8Array[] = []
  #nested: Output | null = null

  write(put: (writer: Writer) => void): void {
    const before = this.#writer.pos
    put(this.#writer)
    this.size += this.#writer.pos - before
  }

  add(bytes: Uint8Array): void {
    if (bytes.length <= maxCopiedBytes) this.#writer.raw(bytes)
    else this.#refer(bytes)
    this.size += bytes.length
  }

  /** An empty output for the content of one nested message, which ends with the next call. */
  nested(): Output {
    this.#nested ??= new Output()
    return this.#nested
  }

  /** Moves everything in `other` to the end of this. */
  append(other: Output): void {
    this.size += other.size
    for (const bytes of other.#chunks) this.#refer(bytes)
    // The writer is used again: what it holds is copied.
    this.#writer.raw(other.#writer.finish(true))
    other.#clear()
  }

  take(): Uint8Array[] {
    this.#flush()
    const chunks = this.#chunks
    this.#clear()
    return chunks
  }

  #refer(bytes: Uint8Array): void {
    this.#flush()
    this.#chunks.push(bytes)
  }

  #flush(): void {
    if (this.#writer.pos > 0) this.#chunks.push(this.#writer.finish())
    this.#writer.reset()
  }

  #clear(): void {
    this.#chunks = []
    this.#writer.reset()
    this.size = 0
  }
}

function encodeMessage(out: Output, type: MessageName, message: object, depth: number): void {
  if (depth > maxMessageDepth) {
    throw new OnnxIreError(
      'invalid-model',
      `a ${type} is nested more than ${maxMessageDepth} messages deep: no reader opens that`,
    )
  }
  const origin = getOrigin(message)
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
  for (const occurrence of readOccurrences(origin.bytes, origin.start, origin.end)) {
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
    const content = toPackedBytes(field.kind as PackedKind, list as PackedArray | readonly (number | bigint)[])
    writeTagAndLength(out, field, content.length, replaced)
    out.add(content)
  } else {
    for (const item of list) encodeNumber(out, field, item as number | bigint)
  }
}

const encodeNumber = (out: Output, { number, kind }: Field, value: number | bigint): void =>
  out.write((writer) => writeNumber(writeTag(writer, number, wireTypeOf(kind)), kind as PackedKind, value))

function encodeDelimited(out: Output, field: Field, value: unknown, depth: number, replaced?: Replaced): void {
  if (isMessage(field.kind)) {
    const content = out.nested()
    encodeMessage(content, field.kind, value as object, depth + 1)
    writeTagAndLength(out, field, content.size, replaced)
    out.append(content)
  } else if (typeof value === 'string' && !replaced) {
    out.write((writer) => writeText(writeTag(writer, field.number, 2), value))
  } else {
    const content = typeof value === 'string' ? encodeUtf8(value) : (value as Uint8Array)
    writeTagAndLength(out, field, content.length, replaced)
    out.add(content)
  }
}

/** Tag and length; the old ones where the length stays, however long they were written. */
function writeTagAndLength(out: Output, { number }: Field, size: number, replaced?: Replaced): void {
  if (replaced && replaced.occurrence.end - replaced.occurrence.body === size) {
    out.add(replaced.bytes.subarray(replaced.occurrence.start, replaced.occurrence.body))
  } else {
    out.write((writer) => writeTag(writer, number, 2).uint32(size))
  }
}
