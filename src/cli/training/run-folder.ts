import { appendFileSync, existsSync, readdirSync, statSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import { checkpointFolder } from '../../node/checkpoints.js'
import type { ClassNames } from '../../node/data/data-source.js'
import { writeFileAtomic } from '../../node/files.js'
import { makeFolder } from '../../node/folder.js'
import { writeModel } from '../../node/model.js'
import type { Model } from '../../onnx/model.js'
import { mapPaths } from '../../recipe/paths.js'
import type { Recipe } from '../../recipe/recipe.js'
import { type CheckpointStore, loadNewest, type Resumed } from '../../train/checkpoint/store.js'
import type { IntervalMetrics } from '../../train/options.js'
import { OnnxIreError } from '../../util/errors.js'
import { readRecipe } from '../inputs/read-recipe.js'

/** One line of `metrics.jsonl`. `step` counts the steps done. */
export interface LogEntry {
  readonly kind: 'step' | 'epoch'
  readonly step: number
}

/**
 * Where a run keeps what it is and what came of it: `recipe.json`, its paths relative to the folder, so that it can be
 * trained as it stands; `start.onnx`, the model of a preset as the run began; `classes.json`, the names of class numbers where the data have some; `metrics.jsonl`;
 * `checkpoints/`; and in the end `tuned.onnx`.
 */
export class RunFolder {
  readonly path: string
  readonly tuned: string
  /** Where a model that was made of a preset is kept. */
  readonly start: string
  readonly #recipe: string
  readonly #classes: string
  readonly #metrics: string
  readonly #checkpoints: string
  /** Where its checkpoints are kept. */
  readonly store: CheckpointStore

  /** @param keep how many checkpoints to keep */
  constructor(path: string, keep?: number) {
    this.path = resolve(path)
    this.tuned = join(this.path, 'tuned.onnx')
    this.start = join(this.path, 'start.onnx')
    this.#recipe = join(this.path, 'recipe.json')
    this.#classes = join(this.path, 'classes.json')
    this.#metrics = join(this.path, 'metrics.jsonl')
    this.#checkpoints = join(this.path, 'checkpoints')
    this.store = checkpointFolder(this.#checkpoints, keep === undefined ? {} : { keep })
  }

  /** Whether something came of a run here. */
  get isUsed(): boolean {
    const logged = existsSync(this.#metrics) && statSync(this.#metrics).size > 0
    return logged || this.hasCheckpoint || existsSync(this.tuned)
  }

  get hasCheckpoint(): boolean {
    return existsSync(this.#checkpoints) && readdirSync(this.#checkpoints).length > 0
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

  /** A recipe of the run in the folder, with the model that is kept here where it names a preset. */
  started(recipe: Recipe): Recipe {
    return typeof recipe.model === 'string' || !existsSync(this.start) ? recipe : { ...recipe, model: this.start }
  }

  /** What `read` makes of the newest checkpoint that is whole. Throws `io` where there is none. */
  async checkpoint(read: (checkpoint: Uint8Array) => Model): Promise<Resumed & { readonly model: Model }> {
    const found = await loadNewest(this.store, read)
    if (found) return { model: found.value, step: found.step, skipped: found.skipped }
    throw new OnnxIreError(
      'io',
      `${this.path} has no checkpoint: the run has not saved one yet; train it further with onnx-ire train --resume`,
    )
  }

  /** Makes the folder and sees that it can be written to, before anything is computed. Throws `io`. */
  async prepare(): Promise<void> {
    await makeFolder(this.path)
  }

  /**
   * Begins a run, or goes on with the one that is there from the step of its checkpoint, forgetting what was logged later.
   * @param made the model to keep, where it was made of a preset just now
   */
  async begin(recipe: Recipe, classes: ClassNames, step: number, made?: Model): Promise<void> {
    await rm(this.tuned, { force: true })
    // That of another run goes before this one's recipe comes, and never counts for it.
    if (made) await rm(this.start, { force: true })
    if (step === 0) await rm(this.#checkpoints, { recursive: true, force: true })
    const written = mapPaths({ ...recipe, output: this.path }, (path) => this.#relative(path))
    await writeFileAtomic(this.#recipe, `${JSON.stringify(written, null, 2)}\n`)
    if (Object.keys(classes).length === 0) await rm(this.#classes, { force: true })
    else await writeFileAtomic(this.#classes, `${JSON.stringify(classes, null, 2)}\n`)
    if (made) await writeModel(this.start, made)
    await writeFileAtomic(this.#metrics, step === 0 ? '' : await this.#logUntil(step))
  }

  log(entry: LogEntry): void {
    try {
      appendFileSync(this.#metrics, `${JSON.stringify(entry)}\n`)
    } catch (cause) {
      throw new OnnxIreError('io', `cannot write ${this.#metrics}: ${(cause as Error).message}`, { cause })
    }
  }

  /** The metrics of every round so far. */
  async rounds(): Promise<IntervalMetrics[]> {
    const text = await readFile(this.#metrics, 'utf8')
    return text.split('\n').flatMap((line) => {
      if (!line.startsWith('{"kind":"epoch"')) return []
      // JSON has no NaN and writes null.
      return [JSON.parse(line, (_, value: unknown) => (value === null ? Number.NaN : value)) as IntervalMetrics]
    })
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
