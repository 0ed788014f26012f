import type { Random } from 'onnx-ire/data'
import { pick } from './random.js'

/** A change of bytes: those of [at, at + removed) are replaced. */
export interface Edit {
  readonly at: number
  readonly removed: number
  readonly inserted: Uint8Array
}

/** Applies edits one after the other. Positions beyond the end mean the end. */
export function applyEdits(bytes: Uint8Array, edits: readonly Edit[]): Uint8Array {
  return edits.reduce((before, { at, removed, inserted }) => {
    const start = Math.min(at, before.length)
    const end = Math.min(start + removed, before.length)
    const after = new Uint8Array(before.length - (end - start) + inserted.length)
    after.set(before.subarray(0, start))
    after.set(inserted, start)
    after.set(before.subarray(end), start + inserted.length)
    return after
  }, bytes)
}

/**
 * Draws edits of bytes: flipped bits, other bytes, cuts, copies of parts, and pieces that formats are sensitive to.
 * @param pieces byte sequences of the format that are worth inserting
 */
export function drawEdits(random: Random, bytes: Uint8Array, pieces: readonly Uint8Array[] = []): readonly Edit[] {
  const count = pick(random, [1, 1, 1, 2, 3, 8])
  return Array.from({ length: count }, () => drawEdit(random, bytes, pieces))
}

const interesting = [0x00, 0x01, 0x7f, 0x80, 0xff, 0x0a, 0x20, 0x22, 0x2c, 0x7b, 0x5b]

function drawEdit(random: Random, bytes: Uint8Array, pieces: readonly Uint8Array[]): Edit {
  const at = random.integer(bytes.length + 1)
  const span = () => 1 + random.integer(pick(random, [4, 16, 256]))
  const none = new Uint8Array(0)
  switch (random.integer(pieces.length > 0 ? 10 : 8)) {
    case 0:
      return { at, removed: 1, inserted: Uint8Array.of((bytes[at] ?? 0) ^ (1 << random.integer(8))) }
    case 1:
      return { at, removed: 1, inserted: Uint8Array.of(random.integer(256)) }
    case 2:
      return { at, removed: 1, inserted: Uint8Array.of(pick(random, interesting)) }
    case 3:
      return { at, removed: random.integer(2) === 0 ? bytes.length : span(), inserted: none }
    case 4: {
      const from = random.integer(bytes.length + 1)
      return { at, removed: 0, inserted: bytes.slice(from, from + span()) }
    }
    case 5: {
      const from = random.integer(bytes.length + 1)
      const length = span()
      return { at, removed: length, inserted: bytes.slice(from, from + length) }
    }
    case 6:
      return {
        at,
        removed: random.integer(9),
        inserted: Uint8Array.from({ length: span() }, () => random.integer(256)),
      }
    case 7: {
      // A number of four or eight bytes, as headers have them.
      const inserted = new Uint8Array(pick(random, [2, 4, 8])).fill(pick(random, [0, 0xff, 0x7f, 0x80]))
      return { at, removed: inserted.length, inserted }
    }
    default: {
      const inserted = pick(random, pieces)
      return { at, removed: random.integer(2) === 0 ? 0 : inserted.length, inserted }
    }
  }
}

/** Lists of edits with fewer edits: each half, then each without one of them. */
export function* fewerEdits(edits: readonly Edit[]): Generator<readonly Edit[]> {
  if (edits.length < 2) return
  const half = Math.ceil(edits.length / 2)
  yield edits.slice(0, half)
  yield edits.slice(half)
  for (const i of edits.keys()) yield edits.filter((_, k) => k !== i)
}
