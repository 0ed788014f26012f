import { expect, it } from 'vitest'
import type { Op } from '../../src/optim/expr/expr.js'
import { describeInBrowser } from './browser.js'

const all = ['add', 'sub', 'mul', 'div', 'min', 'max', 'atMost', 'sqrt', 'abs', 'sign'] as const satisfies Op[]

describeInBrowser('expressions as shaders > equal the host', (browser) => {
  for (const width of [1, 4] as const) {
    it.each(all)(`%s, width ${width}`, async (f) => {
      expect(await browser().page('wgsl', 'arithmetic', f, width)).toEqual([])
    })
    it(`in place, with a mask, width ${width}`, async () => {
      const lengths = width === 4 ? [4, 36, 1024, 3076] : [1, 2, 3, 31, 33, 257, 1023]
      for (const length of lengths) expect(await browser().page('wgsl', 'together', length, width)).toEqual([])
    })
  }
})
