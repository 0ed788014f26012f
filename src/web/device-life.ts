import { OnnxIreError } from '../util/errors.js'
import type { Turns } from './turns.js'

/**
 * A WebGPU device while it is there. onnxruntime goes on as if nothing had happened when it is not, and gives whatever lay
 * in memory: so everything asked of a device passes here, and fails once it is lost.
 */
export class DeviceLife {
  readonly gpu: GPUDevice
  /** Resolves when the device is lost; never where it was only given back. */
  readonly lost: Promise<OnnxIreError>
  readonly #turns: Turns
  readonly #waiting = new Set<(error: OnnxIreError) => void>()
  #error: OnnxIreError | undefined
  #ended = false

  /** @param turns those of all works that must not overlap, on whatever device */
  constructor(gpu: GPUDevice, turns: Turns) {
    this.gpu = gpu
    this.#turns = turns
    this.lost = gpu.lost.then(({ reason, message }) =>
      this.#ended ? new Promise(() => {}) : this.#end(reason, message),
    )
  }

  get isLost(): boolean {
    return this.#error !== undefined
  }

  /** Throws `device-lost` where it is. */
  check(): void {
    if (this.#error) throw this.#error
  }

  /**
   * What `work` comes to, when its turn has come. Throws `device-lost` as soon as the device is; its turn lasts until it is
   * over nevertheless.
   */
  async inTurn<T>(work: () => Promise<T>): Promise<T> {
    this.check()
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject)
      this.#turns
        .take(() => this.#unlessLost(work))
        .then(resolve, async (error) => reject((await this.#loss()) ?? error))
        .finally(() => this.#waiting.delete(reject))
    })
  }

  /** Frees something, when the turns taken before are over and whether or not the device is there: failures do not matter. */
  async free(work: () => void | Promise<void>): Promise<void> {
    await this.#turns.take(async () => work()).catch(() => {})
  }

  /** Gives the device back: that it is gone afterwards is no loss. */
  end(): void {
    this.#ended = true
    this.gpu.destroy()
  }

  async #unlessLost<T>(work: () => Promise<T>): Promise<T> {
    this.check()
    return work()
  }

  #end(reason: GPUDeviceLostReason, message: string): OnnxIreError {
    const how = reason === 'destroyed' ? 'was destroyed' : 'was lost'
    this.#error = new OnnxIreError(
      'device-lost',
      `the WebGPU device ${how}${message ? ` (${message})` : ''}: renew the runtime's device, or make another runtime, and go on from a checkpoint`,
    )
    for (const reject of this.#waiting) reject(this.#error)
    this.#waiting.clear()
    return this.#error
  }

  /** The loss that explains a failure: the news may come a moment later. */
  async #loss(): Promise<OnnxIreError | undefined> {
    if (!this.#error && !this.#ended)
      await Promise.race([this.lost, new Promise((resolve) => setTimeout(resolve, moment))])
    return this.#error
  }
}

/** Milliseconds from a failure to the news of a loss. */
const moment = 20
