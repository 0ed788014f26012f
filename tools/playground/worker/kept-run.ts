import { encodeModel, type Model } from 'onnx-ire'
import { storage } from 'onnx-ire/web'
import type { ContenderName, ContenderResult } from '../protocol.js'
import {
  deleteStoredRun,
  type RunContents,
  runFolder,
  type StoredRun,
  tunedPath,
  writeStoredRun,
} from './stored-run.js'

/** Milliseconds between two checkpoints. */
const interval = 3000
/** Largest share of the time that checkpoints take. */
const share = 0.2

/** A training run whose checkpoints are written from time to time. */
export interface Keepable {
  /** Number of steps so far. */
  readonly steps: number
  /** Writes checkpoints. */
  keep(): Promise<void>
}

/**
 * A training run that is kept in the storage of this browser: model, data and settings from its beginning, weights every
 * few seconds, tuned models at its end.
 */
export class KeptRun {
  readonly #id: string
  readonly #describe: () => StoredRun
  readonly #contents: RunContents
  readonly #source: Keepable
  readonly #report: (reason: string | null) => void
  /** Whether model, data and settings are stored. */
  #isBegun = false
  /** Number of steps at the last checkpoint. */
  #steps = 0
  #hasCheckpoint: boolean
  #timer: ReturnType<typeof setTimeout> | undefined
  #isOver = false
  /** The last writing, which does not reject. */
  #writing: Promise<unknown> = Promise.resolve()

  private constructor(
    describe: () => StoredRun,
    contents: RunContents,
    source: Keepable,
    resumed: boolean,
    report: (reason: string | null) => void,
  ) {
    this.#id = describe().id
    this.#describe = describe
    this.#contents = contents
    this.#source = source
    this.#isBegun = resumed
    this.#hasCheckpoint = resumed
    this.#steps = source.steps
    this.#report = report
  }

  /**
   * Stores the beginning of the run, and its weights from then on.
   * @param describe returns the run with its progress so far
   * @param resumed whether the run is stored already
   * @param report is called after every writing, with the reason if it failed
   */
  static start(
    describe: () => StoredRun,
    contents: RunContents,
    source: Keepable,
    resumed: boolean,
    report: (reason: string | null) => void,
  ): KeptRun {
    const kept = new KeptRun(describe, contents, source, resumed, report)
    void kept.#saveRepeatedly()
    return kept
  }

  /** Stores the current weights, unless they are stored already. */
  async save(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      if (this.#isOver) return
      const reason = await this.#write().then(
        () => null,
        (error: Error) => error.message,
      )
      if (!this.#isOver) this.#report(reason)
    })
    await this.#writing
  }

  /**
   * Ends the saving. Deletes a run that failed before it had a checkpoint, since it would fail again.
   * @param isUnique whether its data exist nowhere else, and stay
   */
  async end(isUnique: boolean): Promise<void> {
    await this.#stop()
    if (!this.#hasCheckpoint && !isUnique) await deleteStoredRun(this.#id).catch(() => {})
  }

  /**
   * Stores the tuned models in place of the checkpoints. If it fails, the checkpoints remain.
   * @throws 'io' if the storage is full
   */
  async finish(
    models: ReadonlyMap<ContenderName, Model>,
    classes: readonly string[],
    results: Readonly<Partial<Record<ContenderName, ContenderResult>>>,
  ): Promise<void> {
    await this.#stop()
    const id = this.#id
    if (!this.#isBegun) await writeStoredRun(this.#describe(), this.#contents)
    for (const [name, model] of models) await storage.write(tunedPath(id, name), encodeModel(model))
    await writeStoredRun({ ...this.#describe(), finished: { at: Date.now(), classes, results } })
    for (const name of models.keys()) await storage.remove(`${runFolder(id)}/${name}`)
  }

  async #write(): Promise<void> {
    if (!this.#isBegun) {
      await writeStoredRun(this.#describe(), this.#contents)
      this.#isBegun = true
    }
    const { steps } = this.#source
    if (steps === this.#steps) return
    await this.#source.keep()
    await writeStoredRun(this.#describe())
    this.#steps = steps
    this.#hasCheckpoint = true
  }

  async #saveRepeatedly(): Promise<void> {
    const start = performance.now()
    await this.save()
    const took = performance.now() - start
    if (!this.#isOver) this.#timer = setTimeout(() => this.#saveRepeatedly(), Math.max(interval, took / share))
  }

  async #stop(): Promise<void> {
    this.#isOver = true
    clearTimeout(this.#timer)
    await this.#writing
  }
}
