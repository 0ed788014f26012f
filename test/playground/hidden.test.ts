import { expect, it } from 'vitest'
import { describeWithChromium } from '../web/browser.js'
import { freeze, hide, launchWithTabs } from '../web/tabs.js'
import { checkpointAfter, countStored, openTable, saveOften, stored } from './examples.js'
import { openPlayground, patience } from './playground.js'

const settings = { epochs: '8', batch: '2' }

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
        expect(await countStored(page)).toEqual(stored(0, 1))

        await openTable(page)
        await saveOften(page)
        expect(await page.tab.isVisible('#unfinished')).toBe(false)
        await page.trainPaused(settings, 20)
        await hide(page.tab)
        const saved = await checkpointAfter(page, 0)
        await freeze(page.tab)
        const next = await page.discard()
        await next.tab.waitForSelector('#unfinished:not([hidden])')
        expect(await next.text('#unfinished-text')).toMatch(/^A training run of table.onnx was unfinished/)
        expect(await next.goOn()).toBeGreaterThan(saved)
        expect(await next.tab.inputValue('#epochs')).toBe(settings.epochs)
        await next.says(/^Done/)
        expect([await next.claimed('base'), await next.claimed('ire')]).toEqual(wanted)
        expect(await countStored(next)).toEqual(stored(0, 2))

        // One that is forgotten.
        await openTable(next)
        await saveOften(next)
        await next.train({ epochs: '1000', batch: '1' })
        await next.says(/^Training/)
        await hide(next.tab)
        await expect.poll(() => countStored(next)).toEqual(stored(1, 2))
        const last = await next.discard()
        await last.tab.waitForSelector('#unfinished:not([hidden])')
        await last.tab.click('#forget-unfinished')
        await last.says(/^It is forgotten/)
        expect(await countStored(last)).toEqual(stored(0, 2))
        await last.open()
        await last.tab.waitForTimeout(500)
        expect(await last.tab.isVisible('#unfinished')).toBe(false)
        await last.tab.goto('about:blank')
      },
      patience,
    )

    it(
      'two tabs > train without touching the run of the other, and only one of them resumes a run',
      async () => {
        const first = await browser().openTab()
        await openTable(first)
        await first.train(settings)
        await first.says(/^Done/)
        const wanted = [await first.claimed('base'), await first.claimed('ire')]

        await openTable(first)
        await saveOften(first)
        await first.trainPaused(settings, 20)
        const second = await first.openTab() // hides the first one
        await expect.poll(() => countStored(first)).toEqual(stored(1, 3))
        await openTable(second)
        await saveOften(second)
        await second.trainPaused({ ...settings, seed: '7' }, 20)
        await first.tab.bringToFront() // hides the second one
        await expect.poll(() => countStored(second)).toEqual(stored(2, 3))
        await second.tab.bringToFront()
        await second.tab.click('#pause')
        await second.says(/^Done/)
        expect([await second.claimed('base'), await second.claimed('ire')]).not.toEqual(wanted)
        expect(await countStored(second)).toEqual(stored(1, 4))
        // The run of the first tab is in progress.
        expect(await second.tab.locator('#unfinished').getAttribute('hidden')).toBe('')

        // The first tab is lost. Two others offer to resume its run, and one does.
        const [third, fourth] = [await first.openTab(), await first.openTab()]
        await first.tab.close()
        for (const tab of [third, fourth]) {
          await tab.tab.bringToFront()
          await tab.open()
          await tab.tab.waitForSelector('#unfinished:not([hidden])')
        }
        await third.tab.bringToFront()
        await third.pauseAt(0)
        await third.tab.click('#go-on')
        await third.says(/^Paused/)
        await fourth.tab.bringToFront()
        await fourth.tab.click('#go-on')
        await expect(fourth.says(/^Training/)).rejects.toThrow(/continues in another tab/)
        // Shows the offer again, as if it had been made before.
        await fourth.tab.evaluate(() => {
          document.getElementById('unfinished')!.hidden = false
        })
        await fourth.tab.click('#forget-unfinished')
        await expect(fourth.says(/^It is forgotten/)).rejects.toThrow(/continues in another tab/)
        expect(await countStored(third)).toEqual(stored(1, 4))
        await third.tab.bringToFront()
        await third.tab.click('#pause')
        await third.says(/^Done/)
        expect([await third.claimed('base'), await third.claimed('ire')]).toEqual(wanted)
        expect(await countStored(third)).toEqual(stored(0, 5))
        for (const { tab } of [second, third, fourth]) await tab.close()
      },
      patience,
    )
  },
)
