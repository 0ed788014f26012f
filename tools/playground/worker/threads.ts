import { inherited } from '../inherited.js'

/** The threads of onnxruntime's WebAssembly are workers of this one: from now on they too go by its policy. */
export function confineThreads(): void {
  globalThis.Worker = class extends Worker {
    constructor(module: string | URL, options?: WorkerOptions) {
      super(inherited(module), options)
    }
  }
}
