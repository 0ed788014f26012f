import { type GraphSpec, modelOf } from '../../onnx/export/export-graph.js'
import { encodeModel } from '../../onnx/model.js'
import type { Device, DeviceProgram } from '../../runtime/device.js'

/**
 * Compiled graphs by what they are for, all of whose outputs stay on the device. They are kept until the end, for their outputs
 * are: on some devices a tensor must not outlive the session that made it.
 */
export class Programs {
  readonly #device: Device
  readonly #programs = new Map<string, DeviceProgram>()

  constructor(device: Device) {
    this.#device = device
  }

  async get(key: string, graph: () => GraphSpec): Promise<DeviceProgram> {
    const known = this.#programs.get(key)
    if (known) return known
    const program = await this.#device.compile(encodeModel(modelOf(graph())), () => true)
    this.#programs.set(key, program)
    return program
  }

  /** Frees all of them, after their outputs; those asked for later are compiled anew. */
  async release(): Promise<void> {
    const programs = [...this.#programs.values()]
    this.#programs.clear()
    for (const program of programs) await program.release()
  }
}
