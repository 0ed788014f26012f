import { insteadOf } from '../runtime/fallback.js'
import { passage } from '../runtime/passage.js'
import type { Runtime } from '../runtime/runtime.js'
import { type NodeOptions, node } from './runtime.js'

/** Options of `startNode`. */
export interface StartOptions extends NodeOptions {
  /**
   * What is to run instead where the provider does not start, such as `node`, which is the CPU. Default: nothing, it is
   * an error.
   */
  readonly fallback?: (() => Runtime | Promise<Runtime>) | undefined
}

/**
 * `node`, started: a provider that does not start is known at once. With a `fallback` that runs instead, and its
 * `description` says why.
 *
 * Throws `invalid-option`, `runtime`.
 */
export async function startNode({ fallback, ...options }: StartOptions = {}): Promise<Runtime> {
  const runtime = node(options)
  try {
    const program = await runtime.compile(passage('float32'))
    await program.release()
    return runtime
  } catch (error) {
    await runtime.dispose()
    return insteadOf(error, fallback)
  }
}
