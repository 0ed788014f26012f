import { node } from '../../src/node/runtime/node.js'
import type { Runtime } from '../../src/runtime/runtime.js'

export const cpu = node({ worker: false })

/** The CPU in the place of a provider: what a graph is lowered to is run where its operators are known to be right. */
export const cpuAs = (provider: Runtime['provider']): Runtime => ({ ...cpu, provider })
