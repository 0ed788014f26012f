import { disposedError } from '../../runtime/runtime.js'
import type { SerialQueue } from '../../util/concurrent.js'
import { OnnxIreError } from '../../util/errors.js'

/**
 * A GPU device whose loss is detected. onnxruntime does not notice a lost device and returns arbitrary memory, so every
 * call passes through this class and fails once the device is lost.
 */
export class MonitoredDevice {
  readonly gpu: GPUDevice
  /** Resolves when the device is lost; never after `close`. */
  readonly lost: Promise<OnnxIreError>
  /** Resolves with the error of all later calls when the device is lost or destroyed. */
  readonly ended: Promise<OnnxIreError>
  readonly #queue: SerialQueue
  readonly #waiting = new Set<(error: OnnxIreError) => void>()
  #error: OnnxIreError | undefined
  #closed = false

  /** @param queue queue of all calls that must not overlap, on any device */
  constructor(gpu: GPUDevice, queue: SerialQueue) {
    this.gpu = gpu
    this.#queue = queue
    this.ended = gpu.lost.then(({ reason, message }) => this.#end(reason, message))
    this.lost = this.ended.then((error) => (this.isLost ? error : new Promise(() => {})))
  }

  get isLost(): boolean {
    return this.#error?.code === 'device-lost'
  }

  /** Throws `device-lost` if the device is lost, `runtime` after `close`. */
  check(): void {
    if (this.#error) throw this.#error
    if (this.#closed) throw disposedError('runtime', 'disposed')
  }

  /**
   * Runs `work` in the queue and returns its result. Throws `device-lost` as soon as the device is lost, and `runtime`
   * after `close`; the queue still waits until `work` settles.
   */
  async run<T>(work: () => Promise<T>): Promise<T> {
    this.check()
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject)
      this.#queue
        .run(() => this.#unlessEnded(work))
        .then(resolve, async (error) => reject((await this.#reportOfEnd()) ?? error))
        .finally(() => this.#waiting.delete(reject))
    })
  }

  /** Frees something after the calls queued before, whether or not the device is lost; failures are ignored. */
  async free(work: () => void | Promise<void>): Promise<void> {
    await this.#queue.run(async () => work()).catch(() => {})
  }

  /** Rejects later calls as those of a disposed runtime. Earlier ones still run. */
  close(): void {
    this.#closed = true
  }

  async #unlessEnded<T>(work: () => Promise<T>): Promise<T> {
    if (this.#error) throw this.#error
    return work()
  }

  #end(reason: GPUDeviceLostReason, message: string): OnnxIreError {
    const how = reason === 'destroyed' ? 'was destroyed' : 'was lost'
    this.#error = this.#closed
      ? disposedError('runtime', 'disposed')
      : new OnnxIreError(
          'device-lost',
          `the WebGPU device ${how}${message ? ` (${message})` : ''}: recover the runtime's device or create another runtime, and resume from a checkpoint`,
        )
    for (const reject of this.#waiting) reject(this.#error)
    this.#waiting.clear()
    return this.#error
  }

  /** End of the device that explains a failure, if any; the browser may report it a moment later. */
  async #reportOfEnd(): Promise<OnnxIreError | undefined> {
    if (!this.#error) await Promise.race([this.ended, new Promise((resolve) => setTimeout(resolve, endReportTimeout))])
    return this.#error
  }
}

/** Milliseconds to wait for the report of the end of a device after a failure: a busy machine takes more than a few. */
export const endReportTimeout = 500

/** Throws `runtime` with the reason if the browser offers no GPU. */
export async function checkForGpu(): Promise<void> {
  // TypeScript declares both as always present.
  const { gpu } = (globalThis.navigator as Navigator | undefined) ?? ({} as Partial<Navigator>)
  if (!gpu)
    throw startFailure(
      globalThis.isSecureContext === false
        ? 'the page is neither from https nor from localhost, so it has no navigator.gpu'
        : globalThis.isSecureContext
          ? 'this browser has no navigator.gpu'
          : 'it needs a browser: there is no navigator.gpu',
    )
  if (!(await gpu.requestAdapter()))
    throw startFailure('the browser offers no adapter: there is no usable GPU, or WebGPU is disabled')
}

const startFailure = (why: string) => new OnnxIreError('runtime', `WebGPU cannot start: ${why}`)
