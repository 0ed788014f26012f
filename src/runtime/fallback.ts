import { OnnxIreError } from '../util/errors.js'
import type { Runtime } from './runtime.js'

/**
 * Another runtime in the place of one that failed with 'runtime', its description saying why; else the failure is thrown.
 * @param fallback makes it: a function, so that who asks for none does not carry its code
 */
export async function insteadOf(
  failure: unknown,
  fallback: (() => Runtime | Promise<Runtime>) | undefined,
): Promise<Runtime> {
  if (!fallback || !(failure instanceof OnnxIreError) || failure.code !== 'runtime') throw failure
  const runtime = await fallback()
  return {
    description: `${runtime.description}, because ${failure.message}`,
    provider: runtime.provider,
    ...(runtime.device ? { device: runtime.device } : {}),
    compile: (model) => runtime.compile(model),
    allocate: (dtype, length) => runtime.allocate(dtype, length),
    dispose: () => runtime.dispose(),
  }
}
