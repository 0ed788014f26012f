import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { writeFileAtomic } from '../../node/files/files.js'
import { makeFolder } from '../../node/files/make-folder.js'
import { isStringList } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { emptyRecord } from '../../util/record.js'
import { Interrupted, onInterrupt } from '../interrupts.js'
import { type Io, print } from '../io.js'
import type { Outputs } from '../outputs.js'
import { createStageProgress, type StageProgress } from '../progress.js'

/** Content of `report.json` that is common to all data sets. */
export interface Report {
  /** Checksum of the plan: the inputs with sizes and dates, and the options. */
  readonly plan: string
  readonly files: Readonly<Record<string, FileSummary>>
}

/** A finished part: its files by name, and the facts about it that later steps need. */
export interface PreparedPart<Info> {
  readonly files: Readonly<Record<string, FileSummary>>
  readonly info: Info
}

const partsFolder = '.prepare'

/** Names of the files of data sets. */
const dataFile = /^(?:(?:train|validation|test)(?:\.tokens|-images\.idx|-labels\.idx)|tokenizer\.json|classes\.json)$/

/**
 * A data set in preparation. Finished parts are stored in the folder `.prepare` of the output, so that an interrupted
 * preparation resumes after its last complete part. At the end the parts become the files of the data set;
 * `report.json` is written last.
 */
export class Preparation {
  readonly output: string
  readonly #parts: string
  readonly #plan: string
  readonly #written: Record<string, FileSummary> = emptyRecord()

  private constructor(output: string, plan: string) {
    this.output = output
    this.#parts = join(output, partsFolder)
    this.#plan = plan
  }

  /**
   * Begins a preparation, or resumes one of the same plan.
   * @param plan everything that determines the data set, as plain data
   * @returns the report if the data set is already complete
   * @throws OnnxIreError `io`, or `invalid-option` if the folder holds a data set of another plan
   */
  static async open(
    output: string,
    plan: object,
    { force = false }: { readonly force?: boolean | undefined },
  ): Promise<Preparation | Report> {
    const text = `${JSON.stringify(plan, null, 2)}\n`
    const preparation = new Preparation(resolve(output), sha256(text))
    const report = force ? null : await preparation.#readReport()
    if (report) return report
    await makeFolder(preparation.output)
    const planFile = join(preparation.#parts, 'plan.json')
    const found = await preparation.#findReport()
    const replaced = found ? Object.keys(found.files) : await preparation.#replacedFiles()
    // Without a report, the parts are those of an interrupted preparation, of one with `force` as well.
    if ((force && found) || (await readOrNull(planFile)) !== text) await preparation.#discardParts()
    await makeFolder(preparation.#parts)
    await writeFileAtomic(planFile, text)
    await writeFileAtomic(preparation.#replacedFile, JSON.stringify(replaced))
    await rm(preparation.#path('report.json'), { force: true })
    return preparation
  }

  /** Makes a part, or returns the stored part if its files are intact. */
  async makePart<Info>(
    name: string,
    make: () => Promise<{ readonly files: Readonly<Record<string, Uint8Array>>; readonly info: Info }>,
  ): Promise<PreparedPart<Info>> {
    const record = join(this.#parts, `${name}.json`)
    const stored = parseOrNull(await readOrNull(record)) as PreparedPart<Info> | null // written below
    if (stored && (await this.#areIntact(this.#parts, stored.files))) return stored
    const { files, info } = await make()
    const written: Record<string, FileSummary> = emptyRecord()
    for (const [file, content] of Object.entries(files))
      written[file] = await writeWithChecksum(join(this.#parts, file), [content])
    await writeFileAtomic(record, `${JSON.stringify({ files: written, info })}\n`)
    return { files: written, info }
  }

  /** Writes a file of the data set: a header and the concatenated files of parts. */
  async assemble(name: string, header: Uint8Array, parts: readonly string[]): Promise<FileSummary> {
    const folder = this.#parts
    async function* blocks(): AsyncGenerator<Uint8Array> {
      yield header
      for (const part of parts) yield* createReadStream(join(folder, part), { highWaterMark: 2 ** 20 })
    }
    const written = await writeWithChecksum(this.#path(name), blocks())
    this.#written[name] = written
    return written
  }

  /** Writes a file of the data set from memory. */
  async write(name: string, content: string): Promise<void> {
    this.#written[name] = await writeWithChecksum(this.#path(name), [Buffer.from(content)])
  }

  /**
   * Writes the report, which marks the data set as complete, and deletes the parts, and the files of a data set that
   * was replaced.
   */
  async finish<Facts extends object>(facts: Facts): Promise<Facts & Report> {
    for (const name of await this.#replacedFiles())
      if (!Object.hasOwn(this.#written, name) && dataFile.test(name)) await rm(this.#path(name), { force: true })
    const report = { ...facts, files: this.#written, plan: this.#plan }
    await writeFileAtomic(this.#path('report.json'), `${JSON.stringify(report, null, 2)}\n`)
    await this.#discardParts()
    return report
  }

  #path(name: string): string {
    return join(this.output, name)
  }

  get #replacedFile(): string {
    return join(this.#parts, 'replaced.json')
  }

  /** Names of the files of the data set that this one replaces. */
  async #replacedFiles(): Promise<readonly string[]> {
    const names = parseOrNull(await readOrNull(this.#replacedFile))
    return isStringList(names) ? names : []
  }

  async #discardParts(): Promise<void> {
    await rm(this.#parts, { recursive: true, force: true })
  }

  async #findReport(): Promise<Report | null> {
    const report = parseOrNull(await readOrNull(this.#path('report.json'))) as Report | null // written by `finish`
    return report?.files ? report : null
  }

  /** Reads the report, if the data set has this plan and is intact. */
  async #readReport(): Promise<Report | null> {
    const report = await this.#findReport()
    if (!report) return null
    if (report.plan !== this.#plan)
      throw new OnnxIreError(
        'invalid-option',
        `${this.output} holds a data set of other inputs or options; choose another folder, or replace it with --force`,
      )
    return (await this.#areIntact(this.output, report.files)) ? report : null
  }

  async #areIntact(folder: string, files: Readonly<Record<string, FileSummary>>): Promise<boolean> {
    for (const [name, written] of Object.entries(files))
      if (!(await isIntact(join(folder, name), written))) return false
    return true
  }
}

/** The files that a preparation writes: those of the data set and its report; and the folder of its parts. */
export const preparedFiles = (output: string, names: readonly string[]): Outputs => ({
  files: [...names, 'report.json'].map((name) => join(output, name)),
  folders: [join(output, partsFolder)],
})

const readOrNull = (path: string): Promise<string | null> => readFile(path, 'utf8').catch(() => null)

function parseOrNull(text: string | null): unknown {
  try {
    return text === null ? null : JSON.parse(text)
  } catch {
    return null
  }
}

/** Size and checksum of a written file. */
interface FileSummary {
  readonly bytes: number
  readonly sha256: string
}

export const sha256 = (content: string | Uint8Array): string => createHash('sha256').update(content).digest('hex')

/** Writes a file atomically and returns its size and checksum. */
async function writeWithChecksum(
  path: string,
  blocks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<FileSummary> {
  const hash = createHash('sha256')
  let bytes = 0
  async function* hashBlocks() {
    for await (const block of blocks) {
      hash.update(block)
      bytes += block.length
      yield block
    }
  }
  await writeFileAtomic(path, hashBlocks())
  return { bytes, sha256: hash.digest('hex') }
}

/** Whether a file still has its size and checksum. */
async function isIntact(path: string, written: FileSummary): Promise<boolean> {
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

/**
 * Receives the progress of a preparation. `at` throws when the command was interrupted, which stops the preparation.
 */
export type Monitor = Omit<StageProgress, 'stop'>

/**
 * Runs a preparation and shows its progress. Ctrl-C stops it at the next call of `monitor.at`, and finished parts
 * remain; a second Ctrl-C ends the process at once.
 */
export async function runPreparation(
  io: Io,
  { quiet = false, json }: { readonly quiet?: boolean | undefined; readonly json?: boolean | undefined },
  prepare: (monitor: Monitor) => Promise<void>,
): Promise<void> {
  const progress = createStageProgress(io.stderr, quiet)
  const interrupts = onInterrupt(io, () => progress.note('stopping; press Ctrl-C again to quit at once'))
  const at = (done: number) => {
    if (interrupts.signal.aborted) throw new Interrupted()
    progress.at(done)
  }
  try {
    await prepare({ stage: progress.stage, note: progress.note, at })
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
    print(
      io,
      { interrupted: true },
      json,
      () => 'interrupted; run the same command again to resume after the last finished part',
    )
    throw error
  } finally {
    interrupts.release()
    progress.stop()
  }
}
