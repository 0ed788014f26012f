import { messageTypes } from './fields.js'
import type { MessageName, Messages } from './schema.js'

/** Where a message was decoded from: what it said then, and the bytes that said it. */
export interface Origin {
  readonly message: object
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
}

const origins = new WeakMap<object, Origin>()

/** The bytes a message, or the message it was edited from, was decoded from. */
export const getOrigin = (message: object): Origin | undefined => origins.get(message)

export const setOrigin = (message: object, origin: Origin): void => {
  origins.set(message, origin)
}

/** A new message: absent lists are empty, absent scalars stay absent. */
export function create<M extends MessageName>(type: M, fields: Partial<Messages[M]>): Messages[M] {
  const message: object = { ...messageTypes[type].empty, ...fields }
  return Object.freeze(message) as Messages[M]
}

/**
 * `message` with some fields changed; undefined removes a scalar or message. Unlike a plain spread, the result remembers
 * the bytes it came from, so that whatever was not changed, unknown fields included, is written as it was read.
 */
export function edit<T extends object>(message: T, changes: Partial<T>): T {
  const edited = Object.freeze({ ...message, ...changes })
  const origin = origins.get(message)
  if (origin) origins.set(edited, origin)
  return edited
}
