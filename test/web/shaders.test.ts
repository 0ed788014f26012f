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

  it(
    'operator whose expansion is loaded when it is needed > runs in shaders',
    async () => {
      const { sums, description } = await call<{ sums: number[]; description: string }>('sumsOf', [4, 7], 'Einsum')
      expect(sums).toEqual([4, 7].map((n) => 4.5 * n))
      expect(description).not.toContain('sums')
    },
    patience,
  )

  it(
    'operators that sample > have their distribution, and new numbers in every run unless they have a seed',
    async () => {
      const samples = await call<Record<string, readonly [readonly number[], readonly number[]]>>('sampled')
      const mean = (list: readonly number[]) => list.reduce((sum, x) => sum + x, 0) / list.length
      /** Mean and standard deviation of both runs. */
      const expectAbout = (name: string, expected: number, deviation: number) => {
        for (const list of samples[name]!) {
          const error = deviation / Math.sqrt(list.length)
          expect(Math.abs(mean(list) - expected), name).toBeLessThan(5 * error)
          const variance = mean(list.map((x) => (x - mean(list)) ** 2))
          expect(Math.sqrt(variance) / deviation, name).toBeCloseTo(1, 1)
        }
      }
      const { uniform, other, twice, normal, truth, classes, seeded } = samples
      expectAbout('uniform', 1, 4 / Math.sqrt(12))
      expectAbout('other', 0.5, 1 / Math.sqrt(12))
      expectAbout('normal', 1, 2)
      expectAbout('truth', 0.25, Math.sqrt(0.25 * 0.75))
      for (const list of uniform!) expect(list.every((x) => x >= -1 && x < 3)).toBe(true)
      for (const list of truth!) expect(list.every((x) => x === 0 || x === 1)).toBe(true)
      for (const [run, list] of twice!.entries())
        for (const i of [0, 1, 70, 4000]) {
          const transposed = uniform![run]![64 * (i % 64) + Math.floor(i / 64)]!
          expect(list[i]).toBeCloseTo(transposed - uniform![run]![i]!, 5)
        }
      for (const list of classes!)
        for (const [row, shares] of [
          [0.2, 0.3, 0.5],
          [0.01, 0.01, 0.98],
        ].entries())
          for (const [label, share] of shares.entries()) {
            const found = mean(list.slice(2000 * row, 2000 * (row + 1)).map((x) => Number(x === label)))
            expect(Math.abs(found - share)).toBeLessThan(5 * Math.sqrt((share * (1 - share)) / 2000))
          }
      const equal = (a: readonly number[], b: readonly number[]) => mean(a.map((x, i) => Number(x === b[i])))
      for (const list of [uniform, other, normal, seeded]) expect(equal(list![0], list![1])).toBeLessThan(0.01)
      expect(
        equal(
          other![0],
          uniform![0].map((x) => (x + 1) / 4),
        ),
      ).toBeLessThan(0.01)
      expect(seeded).toEqual(samples['seeded again'])
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
