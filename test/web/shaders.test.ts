import { describe, expect, it } from 'vitest'
import { node } from '../../src/node/runtime/node.js'
import { shaderGraphs } from '../shader/graphs.js'
import { lossesOf, type ShaderModel } from '../shader/models.js'
import { describeInBrowser } from './browser.js'

const patience = 300_000

describeInBrowser('shaders generated from graphs', (browser) => {
  const call = <T>(name: string, ...args: readonly unknown[]) => browser().worker<T>('shaders', name, ...args)

  it.each(Object.keys(shaderGraphs))(
    '%s > equals the CPU',
    async (name) => {
      expect(await call<number>('compareGraph', name)).toBeLessThan(1e-4)
    },
    patience,
  )

  it(
    'batches of 12 lengths and more > run in shaders, and then in onnxruntime',
    async () => {
      const few = [4, 7, 4, 1, 7, 2, 3, 4]
      const shaders = await call<{ sums: number[]; description: string }>('sumsOf', few)
      expect(shaders.sums).toEqual(few.map((n) => 4.5 * n))
      expect(shaders.description).not.toContain('sums')
      const many = [...Array.from({ length: 14 }, (_, i) => i + 1), 14, 12, 3]
      const { sums, description } = await call<{ sums: number[]; description: string }>('sumsOf', many)
      expect(sums).toEqual(many.map((n) => 4.5 * n))
      expect(description).toContain("; 'sums' runs in onnxruntime, because its inputs have too many different lengths")
    },
    patience,
  )

  describe('training', () => {
    it.each<ShaderModel>(['mlp', 'lenet', 'llama'])(
      '%s > losses of 50 steps equal those on Node',
      async (model) => {
        const runtime = node({ worker: false, threads: 1 })
        const expected = await lossesOf(model, runtime, 50)
        await runtime.dispose()
        const { losses, description } = await call<{ losses: number[]; description: string }>('train', model, 50)
        expect(losses).toHaveLength(50)
        expect(expected[0]! - expected.at(-1)!).toBeGreaterThan(0.3)
        for (const [i, loss] of losses.entries()) expect(Math.abs(loss - expected[i]!)).toBeLessThan(2e-3)
        expect(description).not.toContain('runs in onnxruntime')
      },
      patience,
    )
  })
})
