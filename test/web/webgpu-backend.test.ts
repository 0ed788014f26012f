import { describe, expect, it, vi } from 'vitest'
import type { StepContext, StepReport } from '../../src/backend/step.js'
import { Random } from '../../src/util/random.js'
import { bases, ireOptions, type OptimizerSpec, pairwiseOptimizers, shaderBases } from '../optim/optimizers.js'
import { describeInBrowser } from './browser.js'

/** The largest differences from the plain arrays over all steps. */
interface Difference {
  readonly parameters: number
  readonly moments: number
  readonly curvature: number
  readonly reports: number
  readonly ascended: number
  /** Elements of the mask. */
  readonly flips: number
  readonly moved: number
  readonly flat: number | null
}

const adamw = bases['adamw']!
const enhanced = ireOptions

/** Software's GPU is slow, and slower where the machine has other work. */
vi.setConfig({ testTimeout: 240_000 })

const random = new Random(7)
const draw = (n: number, f: (i: number) => number) => Array.from({ length: n }, (_, i) => f(i))
const values: Readonly<Record<string, number[]>> = {
  'wide range': draw(1001, () => random.normal() * Math.exp(10 * random.normal())),
  'many ties': draw(1000, () => random.integer(3) - 1),
  'all equal': draw(64, () => -2.5),
  'all zero, of both signs': draw(65, (i) => (i % 2 ? 0 : -0)),
  'zeros of both signs amid others': draw(300, (i) => [0, -0, 1, -1, 2][i % 5]!),
  denormals: draw(300, () => (random.integer(1 << 20) - (1 << 19)) * 2 ** -149),
  'same upper digits': draw(500, () => 1 + random.integer(1 << 16) * 2 ** -23),
  'same but for the last digit': draw(500, () => 1 + random.integer(1 << 9) * 2 ** -23),
  'huge and tiny': [1, 1 - 2 ** -24, 1 + 2 ** -23, 0.5, -2, 3.4028234663852886e38, -3.4e38, 2 ** -126, -(2 ** -149)],
  one: [-3],
  'more than a part': draw(20_000, () => random.normal()),
}

interface Selected {
  readonly wanted: StepReport
  readonly got: StepReport
  readonly wantedFlat: readonly string[]
  readonly gotFlat: readonly string[]
}

/** JSON has neither -0 nor NaN nor infinities. */
const wire = (x: number) => (Object.is(x, -0) ? '-0' : Number.isFinite(x) ? x : String(x))

/** One browser for all suites: each start compiles the same shaders. */
describeInBrowser('WebGPU backend', (browser) => {
  describe('10 steps in GPU buffers > equal the host to 1e-5', () => {
    const agree = async (name: string, ...args: readonly unknown[]) => {
      const difference = await browser().page<Difference>('backend', name, ...args)
      expect(difference.flips).toBe(0)
      for (const key of ['parameters', 'moments', 'curvature', 'reports', 'ascended'] as const)
        expect(difference[key], key).toBeLessThan(1e-5)
      expect(difference.moved).toBeGreaterThan(0.01)
      return difference
    }
    const trajectory = (spec: OptimizerSpec, context: StepContext = {}, decay = true) =>
      agree('trajectory', spec, 10, context, decay)

    // Every pair of base and SAM, base and IRE, SAM and IRE. The mask is refreshed at steps 5 and 8.
    for (const [name, spec] of pairwiseOptimizers(shaderBases))
      it(name, async () => {
        const { flat } = await trajectory(spec)
        if (spec.ire) expect(flat).toBeGreaterThanOrEqual(0.7)
        else expect(flat).toBeNull()
      })

    const settings: NonNullable<StepContext['settings']> = {
      weight: { lrScale: 0.5, weightDecay: 0.2 },
      bias: { weightDecay: 0, enhanced: false },
      scale: { startStep: 9, lrScale: 3 },
      embedding: { startStep: 7 },
    }
    const full: OptimizerSpec = { base: adamw, sam: { rho: 0.1 }, ire: { ...enhanced, beta: 0.6 } }
    it('per-parameter settings', async () => {
      for (const spec of [full, { base: bases['sgd with momentum']! }]) await trajectory(spec, { settings })
    })
    it('clipping, by value before the norm', async () => {
      await trajectory(full, { clipNorm: 3 })
      await trajectory(full, { clipValue: 0.4, clipNorm: 1 })
      await trajectory({ base: bases['sgd with momentum']! }, { clipValue: 0.4 })
      await trajectory({ base: bases['sgd']! }, { clipValue: 3, clipNorm: 0.5 })
    })
    it('hundreds of tensors, of 1 to 9 elements and more', async () => {
      const lengths = Array.from({ length: 150 }, (_, i) => (i < 135 ? 1 + (i % 9) : 3 * i))
      await agree(
        'randomly',
        { base: { kind: 'adamw', lr: 0.1 }, sam: {}, ire: { ...enhanced, warmup: 0 } },
        lengths,
        8,
      )
    })
    it('tensors longer than one chunk', async () => {
      const spec = { base: { kind: 'adamw', lr: 0.1 }, sam: { adaptive: true }, ire: { ...enhanced, warmup: 0 } }
      for (const lengths of [
        [70_000, 8192, 8193],
        [69_999, 1, 16_384],
      ])
        await agree('randomly', spec, lengths, 5, { clipNorm: 100, clipValue: 2 })
    })
  })

  describe('global norm on the device', () => {
    it.each([
      ['huge gradients', [1e30], { lr: 0.5 }, { clipNorm: 3 }],
      ['tiny gradients', [1e-25], { lr: 1e24 }, {}],
      ['gradients of every size', [1e-30, 1e-12, 1, 1e14, 1e18], { lr: 1e-18 }, {}],
      ['gradients up to a limit', [1e-12, 1, 1e25], { lr: 0.1 }, { clipValue: 2, clipNorm: 20 }],
    ])('of %s', async (_, sizes, options, context) => {
      const spec = { base: { kind: 'sgd', ...options } }
      const difference = await browser().page<Difference>('backend', 'randomly', spec, [1003, 40], 3, context, sizes)
      expect(difference.reports).toBeLessThan(1e-6)
      expect(difference.parameters).toBeLessThan(1e-6)
      expect(difference.moved).toBeGreaterThan(0.1)
    })
  })

  describe('mask computed on the device > is exact', () => {
    for (const [name, list] of Object.entries(values))
      for (const signed of [false, true])
        it(`${name}${signed ? ', with the sign' : ''}`, async () => {
          const n = list.length
          // k = 1, k = N, and between.
          const ranks = [0, 1, Math.ceil(n / 10), Math.ceil(n / 2), n - 1, n]
          const gammas = ranks.map((k) => 1 - k / n)
          const results = await browser().page<readonly Selected[]>('backend', 'select', list.map(wire), gammas, signed)
          for (const [i, { wanted, got, wantedFlat, gotFlat }] of results.entries()) {
            expect(gotFlat, `k = ${ranks[i]}`).toEqual(wantedFlat)
            expect(got, `k = ${ranks[i]}`).toEqual(wanted)
          }
        })
  })

  describe('non-finite gradient', () => {
    const sam: OptimizerSpec = { base: adamw, sam: { rho: 0.1 }, ire: { ...enhanced, warmup: 0, beta: 0.5 } }
    const spoil = (...args: readonly unknown[]) =>
      browser().page<{
        readonly wanted: string
        readonly got: string
        readonly unchanged: boolean
        readonly after: number
      }>('backend', 'spoil', ...args)

    it.each([
      ['in a plain step', { base: adamw }, 0, 'bias', 2, NaN, 'loss gradient'],
      ['an infinite gradient', { base: bases['sgd']! }, 0, 'weight', 18, -Infinity, 'loss gradient'],
      ['before the ascent', sam, 1, 'scale', 0, Infinity, 'loss gradient'],
      ['after the ascent', sam, 2, 'embedding', 11, NaN, 'loss gradient after the ascent'],
      ['in the curvature', sam, 0, 'weight', 3, NaN, 'curvature gradient'],
      ['in the curvature, whose square overflows', sam, 0, 'weight', 3, 1e30, 'curvature estimate F'],
    ])(
      'failed step > %s > changes nothing, with the same message as the host',
      async (_, spec, at, name, element, value, what) => {
        const { wanted, got, unchanged, after } = await spoil(spec, at, name, element, wire(value))
        expect(got).toBe(wanted)
        expect(got).toContain(`step 3: the ${what} of '${name}' is `)
        expect(unchanged).toBe(true)
        expect(after).toBeLessThan(1e-6)
      },
    )
  })

  describe('failed calls', () => {
    it('abandoned steps > have no effect on later steps', async () => {
      const sam: OptimizerSpec = { base: adamw, sam: { rho: 0.1 } }
      const full: OptimizerSpec = { ...sam, ire: { ...enhanced, warmup: 0, interval: 1, beta: 0.5 } }
      for (const [spec, requests, good] of [
        [full, [1, 2], 2],
        [full, [1, 2], 0],
        [sam, [1], 0],
      ] as const) {
        const result = await browser().page<Difference>('backend', 'abandon', spec, 3, requests, good)
        expect(result).toMatchObject({ unchanged: true, givenUp: 3 * requests.length, flips: 0 })
        for (const key of ['parameters', 'moments', 'curvature'] as const) expect(result[key]).toBeLessThan(1e-5)
      }
    })

    it('failed compilation > is repeated by the next call', async () => {
      const { thrown, a } = await browser().page<{ thrown: string; a: number[] }>('backend', 'retry')
      expect(thrown).toMatch(/^WebGPU rejected the shader of update: .*not now/)
      expect(a).toEqual([4, 2, 0])
    })

    it.each([
      ['missing', 'invalid-data', /^no loss gradient for parameter 'a'/],
      ['longer', 'invalid-data', /^the loss gradient of 'a' has 4 elements, the parameter has 3$/],
      ['foreign', 'invalid-data', /^the loss gradient of 'a' is not a tensor of a WebGPU runtime$/],
      ['integers', 'invalid-data', /^the loss gradient of 'a' is int32; it must be float32$/],
      ['moments', 'runtime', /^update: the shader needs 11 arrays at once and this WebGPU device binds at most 8/],
      ['released', 'runtime', /^this backend was disposed$/],
      ['check', 'not-finite', /^step 3: the loss is NaN: the loss gradient of 'a' is NaN at element 2 of 3;/],
    ])('rejects: %s', async (kind, code, message) => {
      await expect(browser().page('backend', 'refuse', kind)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      })
    })
  })

  describe('cost of a step', () => {
    it('each call > one submit and one small readback, for any number of tensors', async () => {
      const spec: OptimizerSpec = { base: adamw, sam: { rho: 0.1 }, ire: { ...enhanced, warmup: 0, interval: 2 } }
      const lengths = Array.from({ length: 120 }, (_, i) => 100 + i)
      const counts = await browser().page('backend', 'cost', spec, lengths, 4)
      const expected = { maps: 1, mappedBytes: 48 }
      expect(counts).toEqual([3, 2, 3, 2].map((submits) => ({ submits, ...expected })))
    })
  })
})
