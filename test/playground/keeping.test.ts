import type { Page } from 'playwright-core'
import { expect, it } from 'vitest'
import { findViolations } from '../web/axe.js'
import { describeWithChromium } from '../web/browser.js'
import {
  checkpointAfter,
  countExamples,
  countStored,
  drawExamples,
  openSmall,
  openTable,
  saveOften,
  stored,
  storedClasses,
  useDigits,
} from './examples.js'
import { openPlayground, patience } from './playground.js'

const settings = { epochs: '1000', batch: '2' }

/** Asks a page to reload itself, which it may ask about. */
const tryToReload = (tab: Page): Promise<void> => tab.evaluate(() => void setTimeout(() => location.reload()))

describeWithChromium('work kept by the playground', openPlayground, (browser) => {
  it(
    'reload, back and crash > model, data, settings and weights are there again',
    async () => {
      const page = browser()
      await openTable(page)
      await saveOften(page)
      const summary = await page.text('#data-summary')
      await page.train(settings)
      await page.says(/^Training/)
      const saved = await checkpointAfter(page, 1)
      const asked: string[] = []
      page.tab.on('dialog', async (dialog) => {
        asked.push(dialog.type())
        await dialog.accept()
      })
      await page.tab.reload()
      expect(asked).toEqual(['beforeunload'])
      await page.tab.waitForSelector('#unfinished:not([hidden])')
      await saveOften(page)
      const first = await page.goOn()
      expect(first).toBeGreaterThan(saved)
      expect(await page.text('#data-summary')).toBe(summary)
      expect(summary).toMatch(/above.*below/)
      expect(await page.tab.inputValue('#epochs')).toBe(settings.epochs)

      // Away and back again.
      const kept = await checkpointAfter(page, first)
      await page.tab.goto('about:blank')
      await page.tab.goBack()
      expect(asked).toEqual(['beforeunload', 'beforeunload'])
      await page.tab.waitForSelector('#unfinished:not([hidden])')
      const second = await page.goOn()
      expect(second).toBeGreaterThan(kept)

      // A crash gives no chance to store anything: the next checkpoint has more steps.
      const later = await checkpointAfter(page, second)
      const next = await page.openTab()
      const session = await page.context.newCDPSession(page.tab)
      const crashed = page.tab.waitForEvent('crash')
      session.send('Page.crash').catch(() => {}) // the page ends before it answers
      await crashed
      await next.open()
      await next.tab.waitForSelector('#unfinished:not([hidden])')
      expect(await next.goOn()).toBeGreaterThan(later)
      expect(await next.text('#data-summary')).toBe(summary)
      await next.tab.click('#stop')
      await next.says(/^Stopped/)
      expect(await countStored(next)).toEqual(stored(0, 1))
      await next.tab.close()
    },
    patience,
  )

  it(
    'examples that were not trained on > are there after a reload, can be added to, and are trained on',
    async () => {
      const page = await browser().openTab()
      await openSmall(page)
      const before = await countStored(page)
      const unfinished = async () => (await countStored(page)).unfinished - before.unfinished
      await drawExamples(page, { circle: 3, star: 2 })
      await expect.poll(() => countExamples(page)).toBe(5)
      expect(await unfinished()).toBe(1)
      await page.tab.reload()
      await page.tab.waitForSelector('#unfinished:not([hidden])')
      expect(await page.text('#unfinished-text')).toMatch(/^The examples that you showed/)
      await page.tab.click('#go-on')
      await page.says(/^Your examples are here again/)
      const cards = page.tab.locator('#cards > li')
      const counts = () => cards.locator('.count').allInnerTexts()
      expect(await counts()).toEqual(['3', '2'])
      expect(
        await cards
          .locator('.class-head input')
          .evaluateAll((all) => all.map((each) => (each as HTMLInputElement).value)),
      ).toEqual(['circle', 'star'])
      // A new name is stored, too, and a change that is taken back.
      await cards.nth(1).locator('.class-head input').fill('sun')
      await expect.poll(() => storedClasses(page)).toEqual(['circle', 'sun'])
      await drawExamples(page, { circle: 1, star: 0 })
      await expect.poll(() => countExamples(page)).toBe(6)
      await page.tab.click('#undo')
      await expect.poll(() => countExamples(page)).toBe(5)
      // More of them are stored in the same place.
      await drawExamples(page, { circle: 1, star: 1 })
      expect(await counts()).toEqual(['4', '3'])
      await expect.poll(() => countExamples(page)).toBe(7)
      expect(await unfinished()).toBe(1)
      await page.train({ epochs: '2', batch: '4' })
      await page.says(/^Done/)
      expect(await unfinished()).toBe(0)
      // Changes are stored after a second: those of examples that were trained on are not.
      await page.tab.waitForTimeout(1500)
      expect(await unfinished()).toBe(0)
      await page.tab.close()
    },
    patience,
  )

  it(
    'finished models > leaving asks until they are downloaded; they are listed after leaving and coming back, can be opened and tried, until they are deleted',
    async () => {
      const page = await browser().openTab()
      await openSmall(page)
      await page.set({ size: '28' })
      await useDigits(page, [3, 7], 60)
      await page.train({ epochs: '3', batch: '8' })
      await page.says(/^Done/)
      expect(await page.text('#kept')).toMatch(
        /^Both models are stored in this browser until you delete them.* download/,
      )
      const asked: string[] = []
      let isLeaving = false
      page.tab.on('dialog', (dialog) => {
        asked.push(dialog.type())
        return isLeaving ? dialog.accept() : dialog.dismiss()
      })
      await tryToReload(page.tab)
      await expect.poll(() => asked).toEqual(['beforeunload'])
      isLeaving = true
      const bytes = await page.downloadModel('ire')
      const held = await page.claimed('ire')
      const items = page.tab.locator('#finished-list > li')
      await expect.poll(() => items.count()).toBeGreaterThan(0)

      // They are among the downloads, so nothing is asked.
      await page.tab.goto('about:blank')
      await page.tab.goBack()
      await page.tab.waitForSelector('#finished:not([hidden])')
      expect(asked).toHaveLength(1)
      const [newest] = await items.allInnerTexts()
      expect(newest).toContain('0, 1')
      expect(newest).toContain(`AdamW + IRE ${(100 * held.accuracy).toFixed(1)} %`)
      await items.first().getByRole('button', { name: /^Open/ }).click()
      await page.says(/^The tuned models are open/)
      expect(await page.text('#data-summary')).toMatch(/^60 examples of 2 classes: 0 \(\d+\), 1 \(\d+\)/)
      expect(Buffer.compare(await page.downloadModel('ire'), bytes)).toBe(0)
      await page.draw('#try-pad', [[0.3, 0.2], [0.7, 0.2], [0.4, 0.8]]) // biome-ignore format: a line
      await page.tab.waitForSelector('#seen-ire meter')
      expect(await page.tab.isVisible('#kept')).toBe(true)

      // Models that were deleted, or that the browser has promised to keep, are not asked for.
      const isAsked = () => page.tab.evaluate(() => !dispatchEvent(new Event('beforeunload', { cancelable: true })))
      expect(await isAsked()).toBe(false)
      await page.train({ epochs: '1' })
      await page.says(/^Done/)
      expect(await isAsked()).toBe(true)
      await page.tab.click('#home')
      await items
        .first()
        .getByRole('button', { name: /^Delete/ })
        .click()
      await page.says(/^Both models are deleted/)
      expect(await isAsked()).toBe(false)
      await items.first().getByRole('button', { name: /^Open/ }).click()
      await page.says(/^The tuned models are open/)
      await page.tab.evaluate(() => {
        navigator.storage.persist = async () => true
      })
      await page.train({ epochs: '1' })
      await page.says(/^Done/)
      expect(await page.text('#kept')).not.toMatch(/download/)
      expect(await isAsked()).toBe(false)
      await page.tab.click('#home')
      for (let left = (await items.count()) - 1; left >= 0; left--) {
        await items
          .first()
          .getByRole('button', { name: /^Delete/ })
          .click()
        await expect.poll(() => items.count()).toBe(left)
      }
      expect(await page.tab.isVisible('#finished')).toBe(false)
      expect(await countStored(page)).toEqual(stored(0, 0))
      await page.tab.close()
    },
    patience,
  )

  it(
    'full storage > the page and the title of its tab say so, and leaving asks until the models are downloaded',
    async () => {
      const page = await browser().openTab()
      await openTable(page)
      await saveOften(page)
      const before = await countStored(page)
      await page.train({ epochs: '1000', batch: '1' })
      await page.says(/^Training/)
      expect(await page.tab.isVisible('#unstored')).toBe(false)
      const title = await page.tab.title()
      const session = await page.context.newCDPSession(page.tab)
      const origin = new URL(page.url).origin
      const expectUnstored = async (message: RegExp) => {
        await page.tab.waitForSelector('#unstored:not([hidden])')
        // A busy machine may report another reason first.
        await expect.poll(() => page.text('#unstored'), { timeout: patience }).toMatch(message)
        expect(await page.tab.getAttribute('#unstored', 'role')).toBe('alert')
        expect(await page.tab.title()).toBe(`Not stored! ${title}`)
      }

      // The files of checkpoints do not fit.
      await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 1 })
      await expectUnstored(/closing this page loses it.*storage for this site is full/)

      // There is room again.
      await session.send('Storage.overrideQuotaForOrigin', { origin })
      // A busy machine takes longer between two checkpoints.
      await page.tab.waitForSelector('#unstored', { state: 'hidden', timeout: patience })
      expect(await page.tab.title()).toBe(title)
      await expect.poll(() => countStored(page)).toEqual(stored(1, before.finished))

      // The files of the tuned models do not fit: the checkpoints remain.
      await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 1 })
      await page.tab.click('#stop')
      await page.says(/^Stopped/)
      await expectUnstored(/closing this page loses them. Download them. .*storage for this site is full/)
      expect(await findViolations(page.tab)).toEqual([])
      expect(await countStored(page)).toEqual(stored(1, before.finished))
      const asked: string[] = []
      page.tab.on('dialog', async (dialog) => {
        asked.push(dialog.type())
        await dialog.dismiss()
      })
      await tryToReload(page.tab)
      await expect.poll(() => asked).toEqual(['beforeunload'])
      expect((await page.downloadModel('base')).length).toBeGreaterThan(100)
      await page.tab.waitForSelector('#unstored', { state: 'hidden' })
      expect(await page.tab.title()).toBe(title)
      await page.tab.reload()
      expect(asked).toHaveLength(1)
      await session.send('Storage.overrideQuotaForOrigin', { origin })
      await page.tab.close()
    },
    patience,
  )
})
