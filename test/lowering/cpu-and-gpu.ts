import { afterAll, beforeAll, describe } from 'vitest'
import type { Runtime } from '../../src/runtime/runtime.js'
import { lastingWebgpu } from '../node/webgpu.js'
import { needs } from '../requirements.js'
import { cpuAs } from './providers.js'

const gpuNeeded = await needs('webgpu')

/** The runtime of a suite of `onCpuAndGpu`. */
interface Lowered {
  readonly runtime: Runtime
  /** Selects one of two tolerances. */
  readonly within: (cpu: number, gpu: number) => number
}

/** Runs `tests` twice: on the CPU with graphs lowered for WebGPU, and on a GPU if the machine has one. */
export function onCpuAndGpu(name: string, tests: (lowered: () => Lowered) => void): void {
  describe(`${name} > on the CPU, lowered`, () => tests(() => ({ runtime: cpuAs('webgpu'), within: (cpu) => cpu })))
  describe(`${name} > on the GPU`, gpuNeeded, () => {
    let runtime: Runtime | undefined
    beforeAll(() => {
      runtime = lastingWebgpu()
    })
    afterAll(() => runtime?.dispose())
    tests(() => ({ runtime: runtime!, within: (_, gpu) => gpu }))
  })
}
