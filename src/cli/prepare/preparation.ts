import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { writeFileAtomic } from '../../node/files.js'
import { makeFolder } from '../../node/folder.js'
import { OnnxIreError } from '../../util/errors.js'

/** What a preparation makes and how it knows that it is done: a part of `report.json`. */
export interface Report {
  /** Checksum of what was asked for: inputs, their sizes and dates, and options. */
  readonly plan: string
  readonly files: Readonly<Record<string, Written>>
}

/** A finished part: its files by name, and what its maker wants to know of it later. */
export interface Part<Info> {
  readonly files: Readonly<Record<string, Written>>
  readonly info: Info
}

/**
 * A data set on its way. Parts are kept in the folder `.prepare` of the output as they are finished, so that a preparation
 * that was cut short goes on after the last one that is whole; in the end they become the files of the data set, and
 * `report.json` is written last.
 */
export class Preparation {
  readonly output: string
  readonly #parts: string
  readonly #plan: string
  readonly #written: Record<string, Written> = {}
  #kept = 0

  private constructor(output: string, plan: string) {
    this.output = output
    this.#parts = join(output, '.prepare')
    this.#plan = plan
  }

  /**
   * Begins, or goes on with what is there of the same plan.
   * @param plan all that decides what is made, as plain data
   * @returns the report instead where all is done already
   * @throws 'io', or 'invalid-option' when the folder holds a data set of another plan
   */
  static async open(
    output: string,
    plan: object,
    { force = false }: { readonly force?: boolean | undefined },
  ): Promise<Preparation | Report> {
    const text = `${JSON.stringify(plan, null, 2)}\n`
    const preparation = new Preparation(resolve(output), sha256(text))
    const report = force ? null : await preparation.#report()
    if (report) return report
    await makeFolder(preparation.output)
    const planned = join(preparation.#parts, 'plan.json')
    if (force || (await contentOf(planned)) !== text) await preparation.#discardParts()
    await makeFolder(preparation.#parts)
    await writeFileAtomic(planned, text)
    await rm(preparation.#path('report.json'), { force: true })
    return preparation
  }

  /** Parts found finished. */
  get kept(): number {
    return this.#kept
  }

  /** The part of this name: as it was kept, if its files are whole; else made now. */
  async part<Info>(
    name: string,
    make: () => Promise<{ readonly files: Readonly<Record<string, Uint8Array>>; readonly info: Info }>,
  ): Promise<Part<Info>> {
    const record = join(this.#parts, `${name}.json`)
    const kept = parsed(await contentOf(record)) as Part<Info> | null // written below
    if (kept && (await this.#isWhole(this.#parts, kept.files))) {
      this.#kept++
      return kept
    }
    const { files, info } = await make()
    const written: Record<string, Written> = {}
    for (const [file, content] of Object.entries(files))
      written[file] = await writeSummed(join(this.#parts, file), [content])
    await writeFileAtomic(record, `${JSON.stringify({ files: written, info })}\n`)
    return { files: written, info }
  }

  /** Writes a file of the data set: a header, and then files of parts one after the other. */
  async assemble(name: string, header: Uint8Array, parts: readonly string[]): Promise<Written> {
    const folder = this.#parts
    async function* blocks(): AsyncGenerator<Uint8Array> {
      yield header
      for (const part of parts) yield* createReadStream(join(folder, part), { highWaterMark: 2 ** 20 })
    }
    const written = await writeSummed(this.#path(name), blocks())
    this.#written[name] = written
    return written
  }

  /** Writes a file of the data set from memory. */
  async write(name: string, content: string): Promise<void> {
    this.#written[name] = await writeSummed(this.#path(name), [Buffer.from(content)])
  }

  /** Writes the report, which says that all is done, and forgets the parts. */
  async finish<Facts extends object>(facts: Facts): Promise<Facts & Report> {
    const report = { ...facts, files: this.#written, plan: this.#plan }
    await writeFileAtomic(this.#path('report.json'), `${JSON.stringify(report, null, 2)}\n`)
    await this.#discardParts()
    return report
  }

  #path(name: string): string {
    return join(this.output, name)
  }

  async #discardParts(): Promise<void> {
    await rm(this.#parts, { recursive: true, force: true })
  }

  /** The report of what is there if it was made by this plan and is whole. */
  async #report(): Promise<Report | null> {
    const report = parsed(await contentOf(this.#path('report.json'))) as Report | null // written by `finish`
    if (!report?.files) return null
    if (report.plan !== this.#plan)
      throw new OnnxIreError(
        'invalid-option',
        `${this.output} holds a data set made of other inputs or with other options; choose another folder, or replace it with --force`,
      )
    return (await this.#isWhole(this.output, report.files)) ? report : null
  }

  async #isWhole(folder: string, files: Readonly<Record<string, Written>>): Promise<boolean> {
    for (const [name, written] of Object.entries(files))
      if (!(await isIntact(join(folder, name), written))) return false
    return true
  }
}

const contentOf = (path: string): Promise<string | null> => readFile(path, 'utf8').catch(() => null)

function parsed(text: string | null): unknown {
  try {
    return text === null ? null : JSON.parse(text)
  } catch {
    return null
  }
}

/** What a file held when it was written. */
export interface Written {
  readonly bytes: number
  readonly sha256: string
}

export const sha256 = (content: string | Uint8Array): string => createHash('sha256').update(content).digest('hex')

/** Writes a file, all of it or nothing, and says what it holds. */
export async function writeSummed(
  path: string,
  blocks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<Written> {
  const hash = createHash('sha256')
  let bytes = 0
  async function* summed() {
    for await (const block of blocks) {
      hash.update(block)
      bytes += block.length
      yield block
    }
  }
  await writeFileAtomic(path, summed())
  return { bytes, sha256: hash.digest('hex') }
}

/** Whether a file holds what was written. */
export async function isIntact(path: string, written: Written): Promise<boolean> {
  const hash = createHash('sha256')
  let bytes = 0
  try {
    for await (const block of createReadStream(path, { highWaterMark: 2 ** 20 })) {
      hash.update(block)
      bytes += block.length
    }
  } catch {
    return false
  }
  return bytes === written.bytes && hash.digest('hex') === written.sha256
}
