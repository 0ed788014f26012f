import { afterAll, describe, expect, it } from 'vitest'
import { allocateIn, createWasmMemory } from '../../src/ir/wasm-memory.js'
import { HelperThreads } from '../../src/node/runtime/helper-threads.js'
import { evaluateEach } from '../../src/optim/expr/evaluate.js'
import { array, formula } from '../../src/optim/expr/expr.js'
import { ParallelEvaluation } from '../../src/optim/expr/parallel.js'

const helpers = new HelperThreads(2)
afterAll(() => helpers.close())

describe('memory of trainers that were disposed', () => {
  const bytes = 2 ** 25

  async function evaluateInNewMemory(): Promise<void> {
    const { buffer, offset } = allocateIn(createWasmMemory()!, bytes)!
    const x = [new Float32Array(buffer, offset, bytes / 4)]
    const parallel = new ParallelEvaluation(helpers)
    evaluateEach(formula({ x: array('x').add(1) }), { x }, {}, parallel)
    parallel.release()
    // Helpers receive messages.
    await new Promise((resolve) => setTimeout(resolve, 20))
  }

  it('is counted by V8, in buffers that take no memory', () => {
    const memory = createWasmMemory()!
    const before = process.memoryUsage()
    for (let i = 0; i < 64; i++) allocateIn(memory, 2 ** 20)
    const after = process.memoryUsage()
    expect(after.external - before.external).toBeGreaterThanOrEqual(2 ** 26)
    // Node counts the buffers for which it calls malloc, which may return memory that is in use already and clears it.
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(2 ** 20)
  })

  it('is freed in all threads', async () => {
    for (let i = 0; i < 4; i++) await evaluateInNewMemory()
    const before = process.memoryUsage.rss()
    for (let i = 0; i < 24; i++) await evaluateInNewMemory()
    // On a busy machine helpers receive messages later.
    await expect.poll(() => process.memoryUsage.rss() - before).toBeLessThan(12 * bytes)
  })
})
