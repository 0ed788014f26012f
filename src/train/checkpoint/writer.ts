import type { FitOptions } from '../options.js'

/** Writes checkpoints while training goes on: one at a time, each whole before the next begins. */
export class CheckpointWriter {
  private readonly settings: Exclude<FitOptions['checkpoints'], undefined>
  private readonly take: () => Promise<Uint8Array>
  private readonly onSaved: FitOptions['onCheckpoint']
  private saving: Promise<unknown> = Promise.resolve(undefined)
  private savedStep = -1
  private savedAt = Date.now()

  constructor(
    settings: Exclude<FitOptions['checkpoints'], undefined>,
    take: () => Promise<Uint8Array>,
    onSaved: FitOptions['onCheckpoint'],
  ) {
    this.settings = settings
    this.take = take
    this.onSaved = onSaved
  }

  /** Saves if it is time to, or asked for. */
  async afterStep(step: number, asked: boolean): Promise<unknown> {
    const { everySteps, everySeconds } = this.settings
    const due =
      asked ||
      (everySteps !== undefined && step % everySteps === 0) ||
      (everySeconds !== undefined && Date.now() - this.savedAt >= 1000 * everySeconds)
    return due ? this.save(step) : undefined
  }

  /** Begins to save, once what was being saved is; the answer is that of the one before. Throws what saving threw. */
  async save(step: number): Promise<unknown> {
    const verdict = await this.saving
    this.saving = Promise.resolve(undefined)
    if (step === this.savedStep) return verdict
    this.savedStep = step
    this.savedAt = Date.now()
    this.saving = this.write(step, await this.take())
    this.saving.catch(() => {}) // looked at when the next one is saved, or at the end
    return verdict
  }

  private async write(step: number, checkpoint: Uint8Array): Promise<unknown> {
    await this.settings.store.save(step, checkpoint)
    return this.onSaved?.(step)
  }

  /** Waits for the last one. Throws what saving it threw. */
  async end(): Promise<void> {
    await this.saving
  }
}
