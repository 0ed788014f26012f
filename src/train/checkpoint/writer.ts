import type { FitOptions } from '../options.js'

/** Writes checkpoints during training: one at a time, each one complete before the next one starts. */
export class CheckpointWriter {
  readonly #settings: Exclude<FitOptions['checkpoints'], undefined>
  readonly #createCheckpoint: () => Promise<Uint8Array>
  readonly #onCheckpoint: FitOptions['onCheckpoint']
  /** The current write. Resolves to the answer of `onCheckpoint`. */
  #pending: Promise<unknown> = Promise.resolve(undefined)
  #savedStep = -1
  #savedAt = Date.now()
  #unlock: (() => void) | undefined

  constructor(
    settings: Exclude<FitOptions['checkpoints'], undefined>,
    createCheckpoint: () => Promise<Uint8Array>,
    onCheckpoint: FitOptions['onCheckpoint'],
  ) {
    this.#settings = settings
    this.#createCheckpoint = createCheckpoint
    this.#onCheckpoint = onCheckpoint
  }

  /** Locks the store until `end`. Throws `locked` if another run writes to it. */
  async begin(): Promise<void> {
    this.#unlock = await this.#settings.store.lock?.()
  }

  /**
   * Whether a checkpoint is due after a step, or requested.
   * @param since `steps`: number of steps since the last call; `save`: whether a checkpoint was requested
   */
  isDue(step: number, since: { readonly steps: number; readonly save: boolean }): boolean {
    const { everySteps, everySeconds } = this.#settings
    return (
      since.save ||
      (everySteps !== undefined && step % everySteps < since.steps) ||
      (everySeconds !== undefined && Date.now() - this.#savedAt >= 1000 * everySeconds)
    )
  }

  /**
   * Waits for the previous write, then starts the next one. Returns the answer of `onCheckpoint` for the previous
   * checkpoint, and throws the error of the previous write.
   */
  async save(step: number): Promise<unknown> {
    const answer = await this.#pending
    this.#pending = Promise.resolve(undefined)
    if (step === this.#savedStep) return answer
    this.#savedStep = step
    this.#savedAt = Date.now()
    this.#pending = this.#write(step, await this.#createCheckpoint())
    this.#pending.catch(() => {}) // the next save(), or end(), throws the error
    return answer
  }

  /** Waits for the last write, unlocks the store, and throws the error of the write. */
  async end(): Promise<void> {
    try {
      await this.#pending
    } finally {
      this.#unlock?.()
    }
  }

  async #write(step: number, checkpoint: Uint8Array): Promise<unknown> {
    await this.#settings.store.save(step, checkpoint)
    return this.#onCheckpoint?.(step)
  }
}
