import { passage } from '../runtime/passage.js'
import type { Runtime } from '../runtime/runtime.js'
import { type NodeOptions, node } from './runtime.js'

/** Options of `startNode`. */
export interface StartOptions extends NodeOptions {
  /** What is taken where the provider does not start. Default: nothing is, and the reason is thrown. */
  readonly fallback?: 'cpu' | undefined
}

/**
 * `node`, started: a provider that does not start is known at once. With `fallback: 'cpu'` it is the CPU that is taken then, and the
 * runtime's description says why.
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
    if (fallback !== 'cpu' || runtime.provider === 'cpu') throw error
    const instead = node({ ...options, provider: 'cpu', webgpu: undefined })
    return { ...instead, description: `${instead.description}, because ${(error as Error).message}` }
  }
}
