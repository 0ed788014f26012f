import { describe, expect, it } from 'vitest'
import { cases } from '../grad/cases/index.js'
import { describeInBrowser } from './browser.js'

const patience = 300_000

describeInBrowser('gradient rules in Chromium', (browser) => {
  describe('on wasm, by differences', () => {
    it.each(Object.keys(cases))(
      '%s',
      async (operator) => {
        const { count, failures } = await browser().worker<{ count: number; failures: string[] }>(
          'rules',
          'check',
          operator,
        )
        expect(failures).toEqual([])
        expect(count).toBeGreaterThan(0)
      },
      patience,
    )
  })

  describe('on WebGPU, beside wasm in float32', () => {
    it.each(Object.keys(cases))(
      '%s',
      async (operator) => {
        expect(await browser().worker('rules', 'compare', operator)).toBeLessThan(1e-3)
      },
      patience,
    )
  })
})
