import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Chromium, launchChromium } from '../../../tools/chromium.js'
import { needs } from '../../requirements.js'

const dist = fileURLToPath(new URL('../../../dist', import.meta.url))
const origin = 'http://formula.test'

/** (2^24 + 1) - 2^24 is 0 in single precision, which only WebAssembly computes in, and 1 in double precision. */
const script = `
  import { evaluateOne } from '/optim/expr/evaluate.js'
  import { array, formula, scalar } from '/optim/expr/expr.js'
  const y = new Float32Array(1)
  const lost = formula({ y: array('x').add(scalar('big')).sub(scalar('big')) })
  evaluateOne(lost, { x: Float32Array.of(1), y }, { big: 2 ** 24 })
  document.title = 'y = ' + y[0]`

describe('page with a content security policy, in Chromium', await needs('chromium'), () => {
  let browser: Chromium | undefined
  beforeAll(async () => {
    browser = await launchChromium()
  })
  afterAll(() => browser?.close())

  const computedUnder = async (policy: string) => {
    const page = await browser!.context.newPage()
    await page.route(`${origin}/**`, (route) => {
      const { pathname } = new URL(route.request().url())
      if (pathname === '/')
        return route.fulfill({
          contentType: 'text/html',
          headers: { 'content-security-policy': policy },
          body: '<link rel="icon" href="data:,"><script type="module" src="/main.js"></script>',
        })
      const body = pathname === '/main.js' ? script : readFileSync(dist + pathname, 'utf8')
      return route.fulfill({ contentType: 'text/javascript', body })
    })
    await page.goto(`${origin}/`)
    await page.waitForFunction("document.title !== ''", undefined, { timeout: 120_000 })
    return page.title()
  }

  it('WebAssembly allowed > kernels are used', async () => {
    expect(await computedUnder("script-src 'self' 'wasm-unsafe-eval'")).toBe('y = 0')
  })
  it('WebAssembly blocked > the interpreter is used', async () => {
    expect(await computedUnder("script-src 'self'")).toBe('y = 1')
  })
})
