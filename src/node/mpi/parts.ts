import { eachPart, type FloatArray } from '../../ir/float-array.js'

/** Largest length of a message: 16 MB. */
const maxMessageBytes = 2 ** 24

/** Elements of all processes in a row, those of rank 0 first. */
export interface PartsMessage<A> {
  readonly array: A
  /** Number of elements of each process. */
  readonly counts: Int32Array
  /** Position of the first element of each process. */
  readonly offsets: Int32Array
}

/** Functions that `sendParts` calls for the ranks of a message, and to exchange it. */
interface PartsSender<A> {
  /** Whether the arrays of a rank are copied into messages. */
  readonly packs: (rank: number) => boolean
  /** Exchanges the elements of a message. */
  readonly send: (message: PartsMessage<A>) => Promise<void>
  /** Whether the arrays of a rank are replaced by the elements of messages after `send`. */
  readonly unpacks: (rank: number) => boolean
}

/**
 * Sends the arrays of every process in messages that have a piece of each process's arrays.
 * @param parts the arrays of each process
 * @param create creates the array of the messages
 */
export async function sendParts<A extends FloatArray | Uint8Array>(
  parts: readonly (readonly A[])[],
  create: (length: number) => A,
  { packs, send, unpacks }: PartsSender<A>,
): Promise<void> {
  const lengths = parts.map((arrays) => arrays.reduce((sum, { length }) => sum + length, 0))
  const bytes = parts.flat()[0]?.BYTES_PER_ELEMENT ?? 1
  const longest = Math.max(...lengths)
  const piece = Math.min(longest, Math.ceil(maxMessageBytes / bytes / parts.length))
  const array = longest === 0 ? undefined : create(lengths.reduce((sum, length) => sum + Math.min(piece, length), 0))
  for (let from = 0; array && from < longest; from += piece) {
    const counts = Int32Array.from(lengths, (length) => Math.max(0, Math.min(piece, length - from)))
    const offsets = new Int32Array(parts.length)
    for (let rank = 1; rank < parts.length; rank++) offsets[rank] = offsets[rank - 1]! + counts[rank - 1]!
    const each = (selects: (rank: number) => boolean, copy: (part: A, message: A) => void) => {
      for (const [rank, arrays] of parts.entries())
        if (selects(rank))
          eachPart(arrays, from, counts[rank]!, (part, at) => {
            const start = offsets[rank]! + at
            copy(part, array.subarray(start, start + part.length) as A)
          })
    }
    each(packs, (part, message) => message.set(part))
    await send({ array: array.subarray(0, offsets.at(-1)! + counts.at(-1)!) as A, counts, offsets })
    each(unpacks, (part, message) => part.set(message))
  }
}

/**
 * Whether at least half of the processes have elements in a message. If fewer have, as at the end of a process that has a
 * large tensor, a call that divides its work among those that have elements takes longer than one that divides it among
 * all.
 */
export const isBalanced = ({ counts }: PartsMessage<unknown>): boolean =>
  2 * counts.filter((count) => count > 0).length >= counts.length
