import { type NodeOptions, node } from '../../src/node/runtime/node.js'
import type { Runtime } from '../../src/runtime/runtime.js'

/** WebGPU with every call checked. Requires `await needs('webgpu')`. */
export const webgpu = (options: NodeOptions['webgpu'] = {}, rest: NodeOptions = {}): Runtime =>
  node({ ...rest, provider: 'webgpu', webgpu: { validation: 'basic', ...options } })
