import { isMessage, messageTypes } from './fields.js'
import type { MessageName, Messages } from './schema.js'

/** The origin of a decoded or edited message: the message as it was decoded, and its bytes [start, end). */
export interface Origin {
  readonly message: object
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
}

const origins = new WeakMap<object, Origin>()

/** The origin of a message, or of the message from which it was edited; undefined for a new message. */
export const getOrigin = (message: object): Origin | undefined => origins.get(message)

export const setOrigin = (message: object, origin: Origin): void => {
  origins.set(message, origin)
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
  const edited = Object.freeze({ ...message, ...changes })
  const origin = origins.get(message)
  if (origin) origins.set(edited, origin)
  return edited
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
