import { createBlobModuleUrl } from '../blob-module-url.js'

/**
 * Makes the threads of onnxruntime's WebAssembly, which are workers of this worker, inherit its content security
 * policy.
 */
export function confineThreads(): void {
  globalThis.Worker = class extends Worker {
    constructor(module: string | URL, options?: WorkerOptions) {
      super(createBlobModuleUrl(module), options)
    }
  }
}
