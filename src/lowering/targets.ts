import { needed } from '../needed.js'
import type { Provider } from '../runtime/provider.js'
import type { Target } from './lowering.js'

/**
 * What each provider does not run as it is; one that is not here runs every operator. Loaded when needed: a page that computes in
 * WebAssembly does without.
 */
export const targets: { readonly [P in Provider]?: () => Promise<Target> } = {
  webgpu: async () => (await needed(import('./webgpu/index.js'))).webgpu,
}
