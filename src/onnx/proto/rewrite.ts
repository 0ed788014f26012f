import { isMessage, messageTypes } from './fields.js'
import { edit } from './message.js'
import type { MessageName, Messages } from './schema.js'

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
