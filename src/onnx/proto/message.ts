import { isMessage, messageTypes } from './fields.js'
import { fileBytesOf, setFileBytes } from './model-file.js'
import type { MessageName, Messages } from './schema.js'

/** The origin of a decoded or edited message: the message as it was decoded, and its bytes [start, end). */
export interface Origin {
  readonly message: object
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
}

/** Base class whose constructor returns a given object, to which a derived class adds its private fields. */
class Extension {
  constructor(target: object) {
    // biome-ignore lint/correctness/noConstructorReturn: private fields are added to the returned object
    return target
  }
}

/**
 * The origin of a decoded or edited message as private fields of the message, which spreads and comparisons ignore.
 * A WeakMap of millions of messages slows garbage collection down many times over.
 */
class Traced extends Extension {
  readonly #bytes: Uint8Array
  readonly #start: number
  readonly #end: number
  /** The decoded message that was edited; null for a decoded message. */
  readonly #decoded: object | null

  constructor(message: object, bytes: Uint8Array, start: number, end: number, decoded: object | null) {
    super(message)
    this.#bytes = bytes
    this.#start = start
    this.#end = end
    this.#decoded = decoded
  }

  static originOf(message: object): Origin | undefined {
    if (!(#bytes in message)) return undefined
    return { message: message.#decoded ?? message, bytes: message.#bytes, start: message.#start, end: message.#end }
  }
}

/** The origin of a message, or of the message from which it was edited; undefined for a new message. */
export const getOrigin = (message: object): Origin | undefined => Traced.originOf(message)

/** Sets the origin of a message that is not frozen yet. */
export const setOrigin = (message: object, { message: decoded, bytes, start, end }: Origin): void => {
  new Traced(message, bytes, start, end, decoded === message ? null : decoded)
}

/**
 * Creates a message. Absent lists are empty, absent scalars remain absent (proto2: an explicit 0 is not an absent
 * field).
 *
 * @example
 * ```ts
 * const node = create('NodeProto', { opType: 'Relu', input: ['x'], output: ['y'] })
 * ```
 */
export function create<M extends MessageName>(type: M, fields: Partial<Messages[M]>): Messages[M] {
  const message: object = { ...messageTypes[type].empty, ...fields }
  return Object.freeze(message) as Messages[M]
}

/**
 * Copies a message with some fields changed; undefined removes a scalar or message. Unlike an object spread, the copy
 * keeps the origin of the message, so everything that was not changed, unknown fields included, is encoded byte for
 * byte as it was decoded.
 *
 * @example
 * ```ts
 * const renamed = edit(model.proto, { graph: edit(model.proto.graph!, { name: 'tuned' }) })
 * ```
 */
export function edit<T extends object>(message: T, changes: Partial<T>): T {
  const edited = copyFields(message, changes)
  const origin = getOrigin(message)
  if (origin) setOrigin(edited, origin)
  return Object.freeze(edited)
}

/** Copies the fields of a message, without reading raw data that are in a file. */
function copyFields<T extends object>(message: T, changes: Partial<T>): T {
  const inFile = fileBytesOf(message)
  if (!inFile) return { ...message, ...changes }
  const names = Object.keys(message).filter((name) => name !== 'rawData')
  const copy = Object.fromEntries(names.map((name) => [name, (message as Record<string, unknown>)[name]]))
  if (!('rawData' in changes)) setFileBytes(copy, inFile)
  return Object.assign(copy, changes) as T
}

/**
 * Replaces every message of type `target` within `message` (and `message` itself) by the result of `change`, innermost
 * first. A message without a changed message inside remains the same object.
 */
export function rewrite<M extends MessageName, T extends MessageName>(
  type: M,
  message: Messages[M],
  target: T,
  change: (message: Messages[T]) => Messages[T],
): Messages[M] {
  const holders = typesHolding(target)

  const visit = (type: MessageName, message: object): object => {
    const changes: Record<string, unknown> = {}
    for (const { name, kind } of messageTypes[type].fields) {
      if (!isMessage(kind) || !holders.has(kind)) continue
      const value = (message as Readonly<Record<string, unknown>>)[name]
      if (Array.isArray(value)) {
        const items = value.map((item: object) => visit(kind, item))
        if (items.some((item, i) => item !== value[i])) changes[name] = Object.freeze(items)
      } else if (value) {
        const item = visit(kind, value)
        if (item !== value) changes[name] = item
      }
    }
    const edited = Object.keys(changes).length > 0 ? edit(message, changes) : message
    // `type` equals `target` here, so `edited` is a Messages[T]; the compiler cannot infer that.
    return (type as MessageName) === target ? change(edited as Messages[T]) : edited
  }

  return visit(type, message) as Messages[M]
}

/** The message types that can contain a message of type `target`, `target` included. */
function typesHolding(target: MessageName): ReadonlySet<MessageName> {
  const holders = new Set<MessageName>([target])
  for (let size = 0; size < holders.size; ) {
    size = holders.size
    for (const { name, fields } of Object.values(messageTypes)) {
      if (fields.some(({ kind }) => isMessage(kind) && holders.has(kind))) holders.add(name)
    }
  }
  return holders
}
