import { expect, it } from 'vitest'
import { describeWithChromium } from './browser.js'
import { openPlayground, type Playground, patience } from './playground.js'
import { openTable } from './playground-examples.js'
import { freeze, hide, launchWithTabs } from './tabs.js'

/** Whether the worker of the page has stored a training run in the browser. */
const isKept = (page: Playground) =>
  page.tab.workers()[0]!.evaluate(
    () =>
      new Promise<boolean>((resolve) => {
        const request = indexedDB.open('onnx-ire-playground', 1)
        request.onupgradeneeded = () => request.result.createObjectStore('unfinished')
        request.onsuccess = () => {
          const found = request.result.transaction('unfinished').objectStore('unfinished').count()
          found.onsuccess = () => {
            request.result.close()
            resolve(found.result > 0)
          }
        }
      }),
  )

const settings = { epochs: '60', batch: '2' }

describeWithChromium(
  'playground in a hidden tab',
  () => openPlayground(undefined, launchWithTabs),
  (browser) => {
    it(
      'tab frozen and discarded > training > resumes, ends with the same result, and deletes its checkpoint',
      async () => {
        const page = browser()
        await openTable(page)
        await page.train(settings)
        await page.says(/^Done/)
        const wanted = [await page.claimed('base'), await page.claimed('ire')]
        expect(await isKept(page)).toBe(false)

        await openTable(page)
        expect(await page.tab.isVisible('#unfinished')).toBe(false)
        await page.train(settings)
        await page.says(/^Training/)
        await page.tab.click('#pause')
        await hide(page.tab)
        await expect.poll(() => isKept(page), { timeout: 30_000 }).toBe(true)
        await freeze(page.tab)
        const next = await page.discard()
        await next.tab.waitForSelector('#unfinished:not([hidden])')
        expect(await next.text('#unfinished-text')).toMatch(/^A training run of table.onnx was unfinished/)
        await next.tab.click('#go-on')
        await next.says(/^Training/)
        const step = Number(/\d+/.exec(await next.text('#progress-text')))
        expect(step).toBeGreaterThan(1)
        expect(await next.tab.inputValue('#epochs')).toBe(settings.epochs)
        await next.says(/^Done/)
        expect([await next.claimed('base'), await next.claimed('ire')]).toEqual(wanted)
        expect(await isKept(next)).toBe(false)

        // One that is forgotten.
        await openTable(next)
        await next.train({ epochs: '1000', batch: '1' })
        await next.says(/^Training/)
        await hide(next.tab)
        await expect.poll(() => isKept(next), { timeout: 30_000 }).toBe(true)
        const last = await next.discard()
        await last.tab.waitForSelector('#unfinished:not([hidden])')
        await last.tab.click('#forget-unfinished')
        await last.says(/^It is forgotten/)
        expect(await isKept(last)).toBe(false)
        await last.open()
        await last.tab.waitForTimeout(500)
        expect(await last.tab.isVisible('#unfinished')).toBe(false)
      },
      patience,
    )
  },
)
