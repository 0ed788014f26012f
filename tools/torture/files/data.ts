import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Campaign, Case } from '../campaign.js'
import { applyEdits, drawEdits, type Edit, fewerEdits } from '../edits.js'
import { Verdict } from '../judge.js'
import { createFormats, type Format, wholes, writeInto } from './formats.js'

/** Data files of every format with changed bytes. */
export const data: Campaign = {
  about: 'CSV, JSONL, IDX, CIFAR, token, text, parquet and image files and tokenizers with changed bytes',
  share: 3,
  limits: { cpu: 5, memory: 600, wall: 120 },
  async open({ folder }) {
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
  },
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
