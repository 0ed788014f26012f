import { OnnxIreError } from '../../util/errors.js'
import { encodeUtf8 } from '../../util/utf8.js'
import { maxMessageDepth } from './decode.js'
import { type Field, isMessage, messageTypes, type PackedArray, type PackedKind } from './fields.js'
import { getOrigin, type Origin } from './message.js'
import { FileBytes, fileBytesOf, partsOf } from './model-file.js'
import type { MessageName, Messages } from './schema.js'
import {
  createWriter,
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
 * Encodes a message. A decoded message that was not edited is written as its original bytes. An edited message keeps
 * the order, the unknown fields and the encoding of all fields that were not changed. A new message is written in the
 * order of its field numbers.
 *
 * @throws OnnxIreError `invalid-model` for messages nested more than 100 deep
 */
export const encode = <M extends MessageName>(type: M, message: Messages[M]): Uint8Array =>
  joinChunks(encodeChunks(type, message))

/** Concatenates the chunks of an encoded message. */
export function joinChunks({ size, chunks }: Encoded): Uint8Array {
  const bytes = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

/** An encoded message in chunks. */
interface Encoded {
  /** The number of bytes of all chunks together. */
  readonly size: number
  /**
   * Mostly views of tensors and of the decoded input, so that a large model is not in memory twice. Raw data in the
   * model's file are read when the chunk is reached.
   */
  readonly chunks: Iterable<Uint8Array>
}

/** Encodes a message into chunks, for a file or a stream. Like `encode`, without the copy into one array. */
export function encodeChunks<M extends MessageName>(type: M, message: Messages[M]): Encoded {
  const out = new Output()
  encodeMessage(out, type, message, 0)
  const { size } = out
  const parts = out.take()
  return { size, chunks: { [Symbol.iterator]: () => readParts(parts) } }
}

function* readParts(parts: readonly Part[]): Generator<Uint8Array> {
  for (const part of parts) {
    if (part instanceof FileBytes) yield* part.blocks()
    else yield part
  }
}

/** Bytes in memory or in the file of a model. */
type Part = Uint8Array | FileBytes

/** Byte arrays up to this length are copied, which costs less than a chunk for each of them. */
const maxCopiedBytes = 4096

/** Collects encoded bytes: small ones in a writer, large ones by reference. */
class Output {
  size = 0
  readonly #writer = createWriter()
  #parts: Part[] = []
  #nested: Output | null = null

  write(put: (writer: Writer) => void): void {
    const before = this.#writer.pos
    put(this.#writer)
    this.size += this.#writer.pos - before
  }

  add(part: Part): void {
    if (part instanceof FileBytes || part.length > maxCopiedBytes) this.#refer(part)
    else this.#writer.raw(part)
    this.size += part.length
  }

  /** Adds bytes of the decoded input. */
  copy({ bytes }: Pick<Origin, 'bytes'>, start: number, end: number): void {
    for (const part of partsOf(bytes.subarray(start, end))) this.add(part)
  }

  /** An empty output for the content of one nested message. It is valid until the next call of `nested`. */
  nested(): Output {
    this.#nested ??= new Output()
    return this.#nested
  }

  /** Moves the content of `other` to the end of this output. */
  append(other: Output): void {
    this.size += other.size
    for (const part of other.#parts) this.#refer(part)
    // The content of the other writer is copied, because that writer is used again.
    this.#writer.raw(other.#writer.finish(true))
    other.#clear()
  }

  take(): Part[] {
    this.#flush()
    const parts = this.#parts
    this.#clear()
    return parts
  }

  #refer(part: Part): void {
    this.#flush()
    this.#parts.push(part)
  }

  #flush(): void {
    if (this.#writer.pos > 0) this.#parts.push(this.#writer.finish())
    this.#writer.reset()
  }

  #clear(): void {
    this.#parts = []
    this.#writer.reset()
    this.size = 0
  }
}

function encodeMessage(out: Output, type: MessageName, message: object, depth: number): void {
  if (depth > maxMessageDepth) {
    throw new OnnxIreError(
      'invalid-model',
      `a ${type} is nested more than ${maxMessageDepth} messages deep, which protobuf readers reject`,
    )
  }
  const origin = getOrigin(message)
  if (!origin) {
    for (const field of messageTypes[type].fields) encodeField(out, field, fieldValue(message, field), depth)
  } else if (origin.message === message) {
    out.copy(origin, origin.start, origin.end)
  } else {
    encodeEdited(out, type, message, origin, depth)
  }
}

/** Copies the original bytes of an edited message and replaces the changed fields at their positions. */
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
      out.copy(origin, occurrence.start, occurrence.end)
    } else if (field.form === 'many' && wireTypeOf(field.kind) === 2) {
      // Element by element: the nth is replaced by the new nth, and additional elements follow the last.
      const before = was as readonly unknown[]
      const after = is as readonly unknown[]
      const last = nth === before.length - 1
      if (nth < after.length && Object.is(before[nth], after[nth])) {
        out.copy(origin, occurrence.start, occurrence.end)
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

/** The original encoding of a field whose value was replaced. */
interface Replaced {
  readonly occurrence: Occurrence
  readonly bytes: Uint8Array
}

/** The value of a field; for raw data in a file, `FileBytes`. */
const fieldValue = (message: object, { name }: Field): unknown =>
  (name === 'rawData' && fileBytesOf(message)) || (message as Readonly<Record<string, unknown>>)[name]

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
    const content = typeof value === 'string' ? encodeUtf8(value) : (value as Part)
    writeTagAndLength(out, field, content.length, replaced)
    out.add(content)
  }
}

/**
 * Writes tag and length. If the length is unchanged, the original bytes are copied: a varint may be longer than
 * necessary.
 */
function writeTagAndLength(out: Output, { number }: Field, size: number, replaced?: Replaced): void {
  if (replaced && replaced.occurrence.end - replaced.occurrence.body === size) {
    out.add(replaced.bytes.subarray(replaced.occurrence.start, replaced.occurrence.body))
  } else {
    out.write((writer) => writeTag(writer, number, 2).uint32(size))
  }
}
