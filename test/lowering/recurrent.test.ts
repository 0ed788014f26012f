import { afterAll, describe, expect, it } from 'vitest'
import { lastingWebgpu } from '../node/webgpu.js'
import { needs } from '../requirements.js'
import { cpu } from './providers.js'
import { cells, lossesOf } from './recurrent.js'

const gpuNeeded = await needs('webgpu')
const gpu = gpuNeeded.skip ? undefined : lastingWebgpu()
afterAll(() => gpu?.dispose())

// Gradients of recurrent operators are rounds of a Scan, which the host runs.
describe('training recurrent models on WebGPU', gpuNeeded, () => {
  it.each(cells)('%s > losses equal those on the CPU', { timeout: 300_000 }, async (cell) => {
    const expected = await lossesOf(cell, cpu)
    expect(expected[0]! - expected.at(-1)!).toBeGreaterThan(0.05)
    const found = await lossesOf(cell, gpu!)
    expect(found.map((loss, i) => Math.abs(loss - expected[i]!) < 1e-3)).toEqual(expected.map(() => true))
  })
})
