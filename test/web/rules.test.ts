import { describe, expect, it } from 'vitest'
import { cases } from '../grad/cases/index.js'
import { cells } from '../lowering/recurrent.js'
import { describeInBrowser } from './browser.js'

const patience = 300_000

/** Cases that onnxruntime-web rejects although onnxruntime in Node runs them, with the reason. */
const refused: Readonly<Record<string, RegExp>> = {
  // Its shape inference does not stretch a diagonal of length 1.
  Einsum: /'ii,i->i' of \[1,1\] and \[4\]: onnxruntime rejected the model: .*Can't merge shape info/,
  // It counts a last window that begins after the data.
  LpPool: /ceil_mode with pads: onnxruntime rejected the model: .*Can't merge shape info/,
}

describeInBrowser('gradient rules in Chromium', (browser) => {
  describe('gradients on wasm equal finite differences', () => {
    it.each(Object.keys(cases))(
      '%s',
      async (operator) => {
        const { count, failures } = await browser().worker<{ count: number; failures: string[] }>(
          'rules',
          'check',
          operator,
        )
        expect(failures).toEqual(refused[operator] ? [expect.stringMatching(refused[operator])] : [])
        expect(count).toBeGreaterThan(0)
      },
      patience,
    )
  })

  // Their cases are about float64, which the provider has not: a node between it and a type of the GPU has no place to
  // run.
  const wide = ['Cast', 'CastLike']

  describe('gradients on WebGPU equal wasm in float32', () => {
    it.each(Object.keys(cases))(
      '%s',
      async (operator) => {
        const compared = browser().worker<number>('rules', 'compare', operator)
        if (wide.includes(operator)) await expect(compared).rejects.toThrow(/IsNodeCompatibleWithProvider/)
        else expect(await compared).toBeLessThan(1e-3)
      },
      patience,
    )
  })

  it(
    'Conv of 9 channels, a case that onnxruntime computes wrong without the workaround',
    async () => {
      const found = await browser().worker<number>('rules', 'compare', 'Conv', '3x3, 9 channels, stride 2')
      expect(found).toBeLessThan(1e-3)
    },
    patience,
  )

  describe('training recurrent models', () => {
    it.each(cells)(
      '%s > losses in WebAssembly equal those on WebGPU',
      async (cell) => {
        const { wasm, webgpu } = await browser().worker<Record<'wasm' | 'webgpu', number[]>>(
          'rules',
          'trainedThroughTime',
          cell,
        )
        expect(wasm[0]! - wasm.at(-1)!).toBeGreaterThan(0.05)
        expect(webgpu.map((loss, i) => Math.abs(loss - wasm[i]!) < 1e-3)).toEqual(wasm.map(() => true))
      },
      patience,
    )
  })
})
