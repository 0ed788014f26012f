import { isCpuRefusal } from '../../runtime/ort.js'
import type { CompileOptions, Engine, Session, SessionTensor } from './engine.js'

/** An engine that forbids nodes on the CPU, and names them when it refuses a model. */
export class StrictEngine implements Engine {
  readonly #engine: Engine

  /** @param engine engine whose session options forbid nodes on the CPU */
  constructor(engine: Engine) {
    this.#engine = engine
  }

  async compile(model: Uint8Array, options: CompileOptions = {}): Promise<Session> {
    try {
      // The bytes are needed again if the model is refused.
      return await this.#engine.compile(model, { ...options, transfer: false })
    } catch (error) {
      if (!isCpuRefusal(error)) throw error
      const { nameCpuNodes } = await import('../../lowering/cpu-nodes.js')
      throw await nameCpuNodes(error, model, async (bytes) => this.release((await this.#engine.compile(bytes)).id))
    }
  }

  run(id: number, inputs: readonly SessionTensor[]): Promise<SessionTensor[]> {
    return this.#engine.run(id, inputs)
  }

  release(id: number): Promise<void> {
    return this.#engine.release(id)
  }

  free(handle: number): Promise<void> {
    return this.#engine.free(handle)
  }

  close(): Promise<void> {
    return this.#engine.close()
  }
}
