import { expect, it } from 'vitest'
import { describeWithChromium } from '../web/browser.js'
import { openTable, small } from './examples.js'
import { openPlayground, patience } from './playground.js'

describeWithChromium('accessibility and layout of the playground', openPlayground, (browser) => {
  it(
    'keyboard alone > every action works, and the page fits a phone',
    async () => {
      const page = browser()
      await openTable(page)
      await page.unfold()
      const reached: string[] = []
      await page.tab.evaluate(() => (document.activeElement as HTMLElement | null)?.blur())
      let rounds = 0
      for (let i = 0; i < 120; i++) {
        await page.tab.keyboard.press('Tab')
        const { id, outline } = await page.tab.evaluate(() => {
          const element = document.activeElement as HTMLElement
          const { outlineStyle, outlineWidth } = getComputedStyle(element)
          return {
            id: element.id || element.getAttribute('name') || element.tagName,
            outline: `${outlineStyle} ${outlineWidth}`,
          }
        })
        // Beyond the last control it goes out of the page and in again: nothing holds it.
        if (id === 'BODY' && ++rounds === 2) break
        if (id === 'BODY') continue
        expect(outline, id).toMatch(/^(solid 3px|auto .*)$/)
        reached.push(id)
      }
      // Disabled ones come when there is something to do.
      const usable = await page.tab.evaluate(() =>
        [
          ...document.querySelectorAll<HTMLElement>(
            'button, select, input:not([type=radio]), canvas[tabindex], summary',
          ),
        ]
          .filter((element) => element.checkVisibility() && !element.matches(':disabled'))
          .map((element) => element.id || element.tagName),
      )
      expect(rounds).toBe(2)
      expect(usable.length).toBeGreaterThan(15)
      expect(usable.filter((id) => !reached.includes(id))).toEqual([])

      await page.tab.setViewportSize({ width: 360, height: 740 })
      const width = () => page.tab.evaluate('document.documentElement.scrollWidth')
      expect(await width(), 'csv').toBeLessThanOrEqual(360)
      await page.open()
      expect(await width(), 'start').toBeLessThanOrEqual(360)
      await page.openModel('small.onnx', small)
      await page.says(/^small.onnx is open/)
      for (const source of ['folder', 'photos', 'idx', 'draw', 'camera']) {
        await page.tab.check(`input[name=source][value=${source}]`)
        expect(await width(), source).toBeLessThanOrEqual(360)
      }
      await page.tab.setViewportSize({ width: 1100, height: 900 })
    },
    patience,
  )

  it(
    'a focused button that becomes disabled > focus moves to the next control',
    async () => {
      const page = browser()
      const { keyboard } = page.tab
      const focused = () => page.tab.evaluate(() => document.activeElement!.id)
      await openTable(page)
      await page.set({ provider: 'wasm', epochs: '1000', batch: '1' })
      await page.tab.focus('#train')
      await keyboard.press('Enter')
      await page.says(/^Training/)
      expect(await focused()).toBe('pause')
      await keyboard.press('Enter')
      expect(await page.text('#pause')).toBe('Go on')
      await keyboard.press('Tab')
      expect(await focused()).toBe('stop')
      await keyboard.press('Enter')
      await page.says(/^Stopped/)
      expect(await focused()).toBe('train')
      expect(await page.text('#pause')).toBe('Pause')
    },
    patience,
  )

  it(
    'curves > have a text alternative',
    async () => {
      const page = browser()
      await openTable(page)
      await page.train({ epochs: '2', batch: '20' })
      await page.says(/^Done/)
      const charts = page.tab.locator('.charts > div')
      await expect
        .poll(() => charts.evaluateAll((all) => all.map((each) => each.ariaLabel)))
        .toEqual([
          expect.stringMatching(/^Training loss; AdamW [\d.]+ at step \d+; AdamW \+ IRE [\d.]+ at step \d+$/),
          expect.stringMatching(/^Held-out accuracy; AdamW [\d.]+ % at step \d+; AdamW \+ IRE [\d.]+ % at step \d+$/),
          expect.stringMatching(/^Sharpness; AdamW \S+ at step \d+; AdamW \+ IRE \S+ at step \d+$/),
        ])
      // Losses and evaluations are at the same number of steps.
      const steps = await charts.evaluateAll((all) => all.map((each) => /\d+$/.exec(each.ariaLabel!)![0]))
      expect(new Set(steps).size).toBe(1)
      // The legend has the last values while nothing is pointed at.
      await expect
        .poll(() => page.text('#accuracy-chart .u-legend'))
        .toMatch(/step:?\s*\d+\s*AdamW:?\s*[\d.]+ %\s*AdamW \+ IRE:?\s*[\d.]+ %/)
      // Charts have the colors of the page, light and dark.
      const lookOf = () =>
        page.tab.evaluate(() => {
          const { width, height } = document.querySelector<HTMLCanvasElement>('#loss-chart canvas')!
          const context = document.querySelector<HTMLCanvasElement>('#loss-chart canvas')!.getContext('2d')!
          const { data } = context.getImageData(0, 0, width, height)
          let [total, count] = [0, 0]
          for (let i = 0; i < data.length; i += 4)
            if (data[i + 3] === 255) [total, count] = [total + (data[i]! + data[i + 1]! + data[i + 2]!) / 3, count + 1]
          const backgrounds = ['.charts', '.charts > div', '.uplot'].map(
            (part) => getComputedStyle(document.querySelector(part)!).backgroundColor,
          )
          return { brightness: total / count, backgrounds }
        })
      const none = Array<string>(3).fill('rgba(0, 0, 0, 0)')
      await page.tab.emulateMedia({ colorScheme: 'light' })
      const light = await lookOf()
      await page.tab.emulateMedia({ colorScheme: 'dark' })
      await expect.poll(async () => (await lookOf()).brightness).not.toBe(light.brightness)
      const dark = await lookOf()
      expect([light.backgrounds, dark.backgrounds]).toEqual([none, none])
      await page.tab.emulateMedia({ colorScheme: null })
    },
    patience,
  )
})
