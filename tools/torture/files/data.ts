import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Case, Opened, Workplace } from '../campaign.js'
import { applyEdits, drawEdits, type Edit, fewerEdits } from '../edits.js'
import { Verdict } from '../judge.js'
import { createFormats, type Format, wholes, writeInto } from './formats.js'

/** Data files of every format with changed bytes. */
export async function open({ folder }: Workplace): Promise<Opened> {
  const formats = await createFormats()
  return {
    make(seed, random) {
      const format = formats[seed % formats.length]!
      const whole = wholes[format.name]
      if (whole && random.integer(8) === 0) {
        const bytes = whole(random)
        return caseOf(folder, format, bytes, `${format.name}, a whole file of ${bytes.length} bytes`)
      }
      return mutant(folder, format, drawEdits(random, format.bytes, format.pieces))
    },
  }
}

const mutant = (folder: string, format: Format, edits: readonly Edit[]): Case => ({
  ...caseOf(
    folder,
    format,
    applyEdits(format.bytes, edits),
    `${format.name}, ${edits.length} ${edits.length === 1 ? 'change' : 'changes'} of bytes`,
  ),
  *simpler() {
    for (const fewer of fewerEdits(edits)) yield mutant(folder, format, fewer)
  },
})

const caseOf = (folder: string, format: Format, bytes: Uint8Array, title: string): Case => ({
  title,
  file: bytes,
  async run(enter) {
    const verdict = new Verdict(enter)
    const own = await mkdtemp(join(folder, 'data-'))
    const path = await writeInto(own, format.path, bytes)
    await verdict.asyncStage(`read ${format.name}`, () => format.read(path, own))
    const isSvg = new TextDecoder().decode(bytes.subarray(0, 4)) === '<svg'
    verdict.expect(!isSvg || verdict.code !== undefined, 'an SVG named .png is read')
    await rm(own, { recursive: true })
    return verdict.outcome()
  },
})
