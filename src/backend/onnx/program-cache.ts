import { type GraphSpec, modelOf } from '../../onnx/export/export-graph.js'
import { encodeModel } from '../../onnx/model.js'
import type { Device, DeviceProgram } from '../../runtime/device.js'

/**
 * Compiled graphs by key; all their outputs stay on the device. Programs are released together at the end, because on
 * some devices a tensor must not outlive the session that created it.
 */
export class ProgramCache {
  readonly #device: Device
  readonly #programs = new Map<string, DeviceProgram>()

  constructor(device: Device) {
    this.#device = device
  }

  /** Returns the program of `key`; builds and compiles its graph at the first call. */
  async get(key: string, build: () => GraphSpec): Promise<DeviceProgram> {
    const known = this.#programs.get(key)
    if (known) return known
    const program = await this.#device.compile(encodeModel(modelOf(build())), () => true)
    this.#programs.set(key, program)
    return program
  }

  /** Releases all programs; release their outputs first. Programs that are needed later are compiled again. */
  async release(): Promise<void> {
    const programs = [...this.#programs.values()]
    this.#programs.clear()
    for (const program of programs) await program.release()
  }
}
