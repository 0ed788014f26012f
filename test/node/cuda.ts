import { cApi } from '../../src/node/c-api/runtime.js'

/** Why CUDA does not start here; undefined where it does. */
export function whyNoCuda(): string | undefined {
  try {
    cApi({ provider: 'cuda' })
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}
