import { appendFileSync, existsSync, statSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import { OnnxIreError } from '../errors.js'
import { readError, writeFileAtomic } from '../node/files.js'
import { mapPaths } from '../recipe/paths.js'
import type { Recipe } from '../recipe/recipe.js'
import { makeFolder } from './folder.js'
import { readRecipe } from './recipe-file.js'

/** One line of `metrics.jsonl`. `step` counts the steps done. */
export interface LogEntry {
  readonly kind: 'step' | 'epoch'
  readonly step: number
}

/**
 * Where a run keeps what it is and what came of it: `recipe.json`, its paths relative to the folder, so that it can be
 * trained as it stands; `metrics.jsonl`; `checkpoint.safetensors`; and in the end `tuned.onnx`.
 */
export class RunFolder {
  readonly path: string
  readonly tuned: string
  readonly #recipe: string
  readonly #metrics: string
  readonly #checkpoint: string
  /** The checkpoint being written; saves queue up behind each other. */
  #saving: Promise<void> = Promise.resolve()

  constructor(path: string) {
    this.path = resolve(path)
    this.tuned = join(this.path, 'tuned.onnx')
    this.#recipe = join(this.path, 'recipe.json')
    this.#metrics = join(this.path, 'metrics.jsonl')
    this.#checkpoint = join(this.path, 'checkpoint.safetensors')
  }

  /** Whether something came of a run here. */
  get isUsed(): boolean {
    const logged = existsSync(this.#metrics) && statSync(this.#metrics).size > 0
    return logged || this.hasCheckpoint || existsSync(this.tuned)
  }

  get hasCheckpoint(): boolean {
    return existsSync(this.#checkpoint)
  }

  /** The recipe of the run in the folder. Throws `io` where there is none. */
  async recipe(): Promise<Recipe> {
    if (!existsSync(this.#recipe)) {
      throw new OnnxIreError(
        'io',
        `${this.path} is no run folder: there is no recipe.json in it; name the folder that train wrote`,
      )
    }
    return readRecipe(this.#recipe)
  }

  /** Throws `io` where there is none. */
  async checkpoint(): Promise<Uint8Array> {
    return readFile(this.#checkpoint).catch((cause) => {
      const ENOENT = 'the run has not saved one yet; train it further with onnx-ire train --resume'
      throw readError('checkpoint', this.#checkpoint, cause, { ENOENT })
    })
  }

  /** Makes the folder and sees that it can be written to, before anything is computed. Throws `io`. */
  async prepare(): Promise<void> {
    await makeFolder(this.path)
  }

  /** Begins a run, or goes on with the one that is there from the step of its checkpoint, forgetting what was logged later. */
  async begin(recipe: Recipe, step: number): Promise<void> {
    await rm(this.tuned, { force: true })
    if (step === 0) await rm(this.#checkpoint, { force: true })
    const written = mapPaths({ ...recipe, output: this.path }, (path) => this.#relative(path))
    await writeFileAtomic(this.#recipe, `${JSON.stringify(written, null, 2)}\n`)
    await writeFileAtomic(this.#metrics, step === 0 ? '' : await this.#logUntil(step))
  }

  log(entry: LogEntry): void {
    try {
      appendFileSync(this.#metrics, `${JSON.stringify(entry)}\n`)
    } catch (cause) {
      throw new OnnxIreError('io', `cannot write ${this.#metrics}: ${(cause as Error).message}`, { cause })
    }
  }

  /** Puts a checkpoint in place of the last one; the promise fails with `io` when this or one before could not be written. */
  save(checkpoint: Uint8Array): Promise<void> {
    this.#saving = this.#saving.then(() => writeFileAtomic(this.#checkpoint, checkpoint))
    this.#saving.catch(() => {}) // whoever waits for it hears of it
    return this.#saving
  }

  async #logUntil(step: number): Promise<string> {
    const text = await readFile(this.#metrics, 'utf8').catch(() => '')
    return text
      .split('\n')
      .filter((line) => line !== '' && (stepOf(line) ?? Number.POSITIVE_INFINITY) <= step)
      .map((line) => `${line}\n`)
      .join('')
  }

  /** With slashes, which every system reads. */
  #relative(path: string): string {
    return (relative(this.path, path) || '.').split(sep).join('/')
  }
}

/** Undefined for a line that was cut off. */
function stepOf(line: string): number | undefined {
  try {
    return (JSON.parse(line) as LogEntry).step
  } catch {
    return undefined
  }
}
