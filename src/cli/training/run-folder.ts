import { appendFileSync, existsSync, readdirSync, statSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import type { ClassNames } from '../../node/data/data-source.js'
import { listFiles } from '../../node/data/folders.js'
import { checkpointFolder } from '../../node/files/checkpoint-folder.js'
import { readRegularFile, writeFileAtomic } from '../../node/files/files.js'
import { lockFolder } from '../../node/files/lock-folder.js'
import { makeFolder } from '../../node/files/make-folder.js'
import { writeModel } from '../../node/files/model.js'
import type { Model } from '../../onnx/model.js'
import { parseJson } from '../../recipe/parse.js'
import type { Recipe } from '../../recipe/recipe.js'
import { mapPaths } from '../../recipe/resolve.js'
import type { FitData } from '../../train/checkpoint/checksums.js'
import { type CheckpointStore, loadNewest, type Resumed } from '../../train/checkpoint/store.js'
import type { IntervalMetrics } from '../../train/options.js'
import { OnnxIreError } from '../../util/errors.js'
import { quotePath } from '../format.js'
import { readRecipe } from '../inputs/read-recipe.js'
import type { Outputs } from '../outputs.js'
import { findReplacedRun, listRun, restoreRun } from './replaced-run.js'
import { readRunRecord, recordPath, recordTunedStep, writeRunRecord } from './run-record.js'

/** A line of `metrics.jsonl`. `step` is the number of completed steps. */
interface LogEntry {
  readonly kind: 'step' | 'tensors' | 'epoch' | 'warning'
  readonly step: number
  /** Fields of the kind; docs/run-folders.md has their meaning. */
  readonly [field: string]: unknown
}

/** The run folder of a part of a cross-validation. */
export const foldFolder = (folder: string, fold: number): string => join(folder, `fold-${fold}`)

/**
 * The folder of a training run: `recipe.json`, with paths relative to the folder, so that it can be trained again;
 * `run.json`, a digest of the data and the path of the folder, for paths of the recipe after the folder was moved;
 * `start.onnx`, the initial model if it was built from a preset; `classes.json`, the class names, if the data set has
 * some; `metrics.jsonl`; `checkpoints/`; and at the end `tuned.onnx`. While a process trains in it, `lock.json`; and
 * until a run that replaces another one ends, `replaced-<n>/` with the files of the other one.
 */
export class RunFolder {
  readonly path: string
  readonly tuned: string
  readonly recipe: string
  /** Path of the initial model, if it was built from a preset. */
  readonly start: string
  readonly #classes: string
  readonly #metrics: string
  readonly #checkpoints: string
  /** Stores the checkpoints of the run. */
  readonly store: CheckpointStore

  /** @param keep number of checkpoints to keep */
  constructor(path: string, keep?: number) {
    this.path = resolve(path)
    this.tuned = join(this.path, 'tuned.onnx')
    this.start = join(this.path, 'start.onnx')
    this.recipe = join(this.path, 'recipe.json')
    this.#classes = join(this.path, 'classes.json')
    this.#metrics = join(this.path, 'metrics.jsonl')
    this.#checkpoints = join(this.path, 'checkpoints')
    this.store = checkpointFolder(this.#checkpoints, keep === undefined ? {} : { keep })
  }

  /** Whether the folder holds results of a run. */
  get isUsed(): boolean {
    const logged = existsSync(this.#metrics) && statSync(this.#metrics).size > 0
    return logged || this.hasModel
  }

  /** Whether the folder holds a checkpoint or the trained model of a run. */
  get hasModel(): boolean {
    return this.hasCheckpoint || existsSync(this.tuned)
  }

  /**
   * The files that a run writes or removes.
   * @param startModel whether the initial model is one of them
   * @param replaces whether the run in the folder is replaced, and removed in the end
   */
  async outputs(startModel: boolean, replaces: boolean): Promise<Outputs> {
    const files = [
      this.recipe,
      recordPath(this.path),
      this.#classes,
      this.#metrics,
      this.tuned,
      ...(startModel ? [this.start] : []),
    ]
    const replaced = replaces ? (await listRun(this.path)).map((name) => join(this.path, name)) : []
    return {
      files: [...new Set([...files, ...replaced])].filter((file) => file !== this.#checkpoints),
      folders: [this.#checkpoints],
    }
  }

  /** Lists the files of the run, except the trained model. */
  async listFiles(): Promise<readonly string[]> {
    return [
      this.recipe,
      recordPath(this.path),
      this.#classes,
      this.#metrics,
      this.start,
      ...(await listFiles(this.#checkpoints)),
    ]
  }

  get hasCheckpoint(): boolean {
    return (
      existsSync(this.#checkpoints) && readdirSync(this.#checkpoints).some((name) => name.startsWith('checkpoint-'))
    )
  }

  /** Reads the recipe of the run. Throws `io` if the folder holds no run. @param assignments `path=value` changes */
  async readRecipe(assignments: readonly string[] = []): Promise<Recipe> {
    if (!existsSync(this.recipe)) {
      throw new OnnxIreError(
        'io',
        `${this.path} is not a run folder: it has no recipe.json; name a folder that train wrote`,
      )
    }
    return readRecipe(this.recipe, assignments)
  }

  /** Replaces the preset of a recipe by the initial model in this folder, if any. */
  withStartModel(recipe: Recipe): Recipe {
    return typeof recipe.model === 'string' || !existsSync(this.start) ? recipe : { ...recipe, model: this.start }
  }

  /** Reads a model from the newest undamaged checkpoint with `read`. Throws `io` if there is no checkpoint. */
  async readCheckpoint(read: (checkpoint: Uint8Array) => Model): Promise<Resumed & { readonly model: Model }> {
    const found = await loadNewest(this.store, read)
    if (found) return { model: found.value, step: found.step, skipped: found.skipped }
    throw new OnnxIreError(
      'io',
      `${this.path} has no checkpoint yet; continue the run with onnx-ire train ${quotePath(this.recipe)} --resume`,
    )
  }

  get exists(): boolean {
    return existsSync(this.path)
  }

  /**
   * Creates the folder, checks that it is writable and locks it for this process. Returns a function that unlocks it.
   * Throws `io`, and `locked` naming the process that trains in it.
   */
  async lock(): Promise<() => void> {
    await makeFolder(this.path)
    return lockFolder(this.path)
  }

  /**
   * Restores the run that another one was to replace whose process was killed before its first checkpoint. Returns
   * whether there was one.
   */
  async restoreReplaced(): Promise<boolean> {
    const replaced = await findReplacedRun(this.path)
    const isResumable = this.hasModel && existsSync(this.recipe)
    if (replaced === undefined || isResumable || !new RunFolder(replaced).hasModel) return false
    await restoreRun(this.path, replaced)
    return true
  }

  /** Number of bytes of the checkpoints in the folder. */
  get checkpointBytes(): number {
    if (!existsSync(this.#checkpoints)) return 0
    const sizes = readdirSync(this.#checkpoints).map((name) => statSync(join(this.#checkpoints, name)).size)
    return sizes.reduce((sum, size) => sum + size, 0)
  }

  /** Class names by tensor; empty if the data have none. */
  async readClasses(): Promise<ClassNames> {
    if (!existsSync(this.#classes)) return {}
    return parseJson((await readRegularFile('class names', this.#classes)).toString()) as ClassNames
  }

  /**
   * Begins a run, or resumes the run in the folder at `step`: later lines of the log are removed.
   * @param data number of examples and checksum of the data
   * @param startModel the initial model to store, if it was built from a preset
   */
  async begin(recipe: Recipe, classes: ClassNames, data: FitData, step: number, startModel?: Model): Promise<void> {
    // The initial model of a replaced run is removed before the new recipe is written, so that the two never mix.
    if (startModel) await rm(this.start, { force: true })
    if (step === 0) await rm(this.#checkpoints, { recursive: true, force: true })
    const written = mapPaths({ ...recipe, output: this.path }, (path) => this.#relative(path))
    await writeFileAtomic(this.recipe, `${JSON.stringify(written, null, 2)}\n`)
    const tunedStep = existsSync(this.tuned) ? (await readRunRecord(this.recipe))?.tunedStep : undefined
    await writeRunRecord(this.path, { folder: this.path, data, ...(tunedStep !== undefined && { tunedStep }) })
    if (Object.keys(classes).length === 0) await rm(this.#classes, { force: true })
    else await writeFileAtomic(this.#classes, `${JSON.stringify(classes, null, 2)}\n`)
    if (startModel) await writeModel(this.start, startModel)
    await writeFileAtomic(this.#metrics, step === 0 ? '' : await this.#logUntil(step))
  }

  /** Writes the trained model after a number of steps. */
  async writeTuned(model: Model, step: number): Promise<void> {
    await writeModel(this.tuned, model)
    await recordTunedStep(this.path, step)
  }

  /** Appends a line to `metrics.jsonl`. Throws `io`. */
  log(entry: LogEntry): void {
    try {
      appendFileSync(this.#metrics, `${JSON.stringify(entry)}\n`)
    } catch (cause) {
      throw new OnnxIreError('io', `cannot write ${this.#metrics}: ${(cause as Error).message}`, { cause })
    }
  }

  /** Reads the metrics of every evaluation so far. */
  async readEvaluations(): Promise<IntervalMetrics[]> {
    const text = await readFile(this.#metrics, 'utf8')
    return text.split('\n').flatMap((line) => {
      if (!line.startsWith('{"kind":"epoch"')) return []
      // JSON writes NaN as null.
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

  /** A path relative to the folder, with slashes on every system. */
  #relative(path: string): string {
    return (relative(this.path, path) || '.').split(sep).join('/')
  }
}

/** The step of a line; undefined for a truncated line. */
function stepOf(line: string): number | undefined {
  try {
    return (JSON.parse(line) as LogEntry).step
  } catch {
    return undefined
  }
}
