import { input } from '../ir/leaf.js'
import { encode } from '../onnx/encode.js'
import { exportGraph } from '../onnx/export.js'
import { op } from '../op/basic.js'
import { insteadOf } from '../runtime/fallback.js'
import type { Runtime } from '../runtime/runtime.js'
import { type NodeOptions, node } from './runtime.js'

/** Options of `startNode`. */
export interface StartOptions extends NodeOptions {
  /**
   * What is to run instead where the provider does not start, such as `node`, which is the CPU. Default: nothing, it is an
   * error.
   */
  readonly fallback?: (() => Runtime | Promise<Runtime>) | undefined
}

/**
 * `node`, started: a provider that does not start is known at once. With a `fallback` that runs instead, and its `description` says
 * why.
 *
 * Throws `invalid-option`, `runtime`.
 */
export async function startNode({ fallback, ...options }: StartOptions = {}): Promise<Runtime> {
  const runtime = node(options)
  try {
    const program = await runtime.compile(smallest())
    await program.release()
    return runtime
  } catch (error) {
    await runtime.dispose()
    return insteadOf(error, fallback)
  }
}

/** A model for anything that runs models. */
function smallest(): Uint8Array {
  const x = input('x', 'float32', [1])
  const graph = { name: 'smallest', inputs: new Map([['x', x]]), outputs: new Map([['y', op.Abs(x)]]) }
  return encode('ModelProto', exportGraph(graph))
}
