import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Settings, StoredRun } from './experiment.js'

/** Canonical JSON of settings, independent of the order of fields. */
export const toKey = (settings: Settings): string => JSON.stringify(settings, (_, value) => sorted(value))

/** Runs of an experiment in one JSON file, which is rewritten atomically after every run. */
export class Store {
  readonly #path: string
  readonly #runs = new Map<string, StoredRun>()
  readonly #asked = new Set<string>()

  /** @param resume whether to start with the runs in the file */
  constructor(path: string, resume: boolean) {
    this.#path = path
    if (resume) for (const run of read(path)) this.#runs.set(toKey(run.settings), run)
  }

  get(settings: Settings): StoredRun | undefined {
    const key = toKey(settings)
    this.#asked.add(key)
    return this.#runs.get(key)
  }

  add(run: StoredRun): void {
    this.#runs.set(toKey(run.settings), run)
    this.#write([...this.#runs.values()], null)
  }

  /** Writes the summary and the runs requested since the file was opened, in that order. */
  finish(summary: Readonly<Record<string, unknown>>): void {
    this.#write(
      [...this.#asked].flatMap((key) => this.#runs.get(key) ?? []),
      summary,
    )
  }

  #write(runs: readonly StoredRun[], summary: Readonly<Record<string, unknown>> | null): void {
    mkdirSync(dirname(this.#path), { recursive: true })
    const lines = runs.map((run) => `    ${JSON.stringify(run)}`).join(',\n')
    const head = Object.entries(summary ?? {}).map(
      ([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)}`,
    )
    const text = `{\n  "summary": ${summary ? `{\n${head.join(',\n')}\n  }` : 'null'},\n  "runs": [\n${lines}\n  ]\n}\n`
    writeFileSync(`${this.#path}.part`, text)
    renameSync(`${this.#path}.part`, this.#path)
  }
}

function read(path: string): readonly StoredRun[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
  return (JSON.parse(text) as { runs: readonly StoredRun[] }).runs
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
