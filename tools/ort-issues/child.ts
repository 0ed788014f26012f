import type { Finding } from './issue.js'
import { NotTested } from './issue.js'
import { findReproducer } from './issues.js'

/** A message from the process of a reproducer. */
export type Message =
  | { readonly kind: 'armed'; readonly detail: string }
  | { readonly kind: 'finding'; readonly finding: Finding }
  | { readonly kind: 'not tested'; readonly why: string }
  | { readonly kind: 'failed'; readonly why: string }

const send = (message: Message): Promise<void> => new Promise((resolve) => process.send!(message, () => resolve()))

// The process of one reproducer: `child.ts SLUG`.
const { reproducer } = findReproducer(process.argv[2]!)
try {
  const finding = await reproducer.run({ arm: (detail) => send({ kind: 'armed', detail }) })
  await send({ kind: 'finding', finding })
} catch (error) {
  const why = error instanceof Error ? error.message : String(error)
  await send(error instanceof NotTested ? { kind: 'not tested', why } : { kind: 'failed', why })
}
