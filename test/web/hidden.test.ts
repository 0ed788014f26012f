import type { ConsoleMessage } from 'playwright-core'
import { beforeAll, expect, it } from 'vitest'
import { describeInBrowser } from './browser.js'
import type { Taken } from './pages/calls/hidden.js'
import type { Task, Where } from './pages/task.js'
import { digits, idxOf, pretrained } from './pretrained.js'
import { freeze, hide, launchWithTabs } from './tabs.js'

const size = 8
const others = digits([5, 6, 7, 8, 9], 96)
const common = { model: 'digits', pixels: 'pixels', labels: 'labels', size, classes: 5, batchSize: 16, lr: 3e-3 }
/** More steps than any run takes before it is stopped. */
const task: Task = { ...common, ire: true, steps: 100_000 }
const patience = 300_000

describeInBrowser(
  'training in a hidden tab',
  (browser) => {
    beforeAll(async () => {
      const { exchange } = browser()
      exchange.set('digits', await pretrained(size))
      exchange.set('pixels', idxOf(others.pixels))
      exchange.set('labels', idxOf(others.labels))
    }, patience)

    /** Starts a run of `until` steps and collects its messages. */
    const begin = async (where: Where, fresh: boolean, until?: number) => {
      const { page, worker, tab } = browser()
      await worker('hidden', 'recordedEvents')
      await page('hidden', 'watch')
      const lines: string[] = []
      const listen = (message: ConsoleMessage) => void lines.push(message.text())
      tab.on('console', listen)
      const taken = worker<Taken>('hidden', 'train', where, task, fresh, until)
      const said = (line: RegExp) => expect.poll(() => lines.find((each) => line.test(each))).toBeTruthy()
      return { taken: taken.finally(() => tab.off('console', listen)), lines, said }
    }
    /** The steps of an uninterrupted run. */
    const undisturbed = async (where: Where, until: number) => (await (await begin(where, true, until)).taken).steps
    const still = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

    it.each<Where>(['wasm', 'webgpu'])(
      '%s > continues while hidden, pauses while frozen, and ends with the same result',
      async (where) => {
        const { taken, lines, said } = await begin(where, true)
        await said(/^step 20$/)
        const { show } = await hide(browser().tab)
        const behind = lines.length
        await said(/^saved /)
        await expect.poll(() => lines.length).toBeGreaterThan(behind + 1)
        const { thaw } = await freeze(browser().tab)
        let before = lines.length
        const quiet = async () => {
          before = lines.length
          await still(1000)
          return lines.length === before
        }
        // What was said before may be heard later.
        await expect.poll(quiet).toBe(true)
        await thaw()
        await show()
        await expect.poll(() => lines.length).toBeGreaterThan(before)
        await browser().page('hidden', 'stop')
        const { steps, saved } = await taken
        expect(await browser().page('hidden', 'recordedEvents')).toEqual([
          'visibilitychange hidden',
          'freeze hidden',
          'resume hidden',
          'visibilitychange visible',
        ])
        expect(saved[0]).toBeLessThan(steps.length - 1)
        expect(steps.map(([step]) => step)).toEqual(steps.map((_, i) => i))
        expect(steps).toEqual(await undisturbed(where, steps.length))
      },
      patience,
    )

    it(
      'discarded while hidden > resumes in another tab from its last checkpoint',
      async () => {
        const { taken, lines, said } = await begin('wasm', true)
        const gone = expect(taken).rejects.toThrow(/closed/)
        await said(/^step 20$/)
        await hide(browser().tab)
        await said(/^saved /)
        const saved = Number(/\d+/.exec(lines.find((line) => line.startsWith('saved'))!))
        await freeze(browser().tab)
        await browser().discard()
        await gone
        expect(saved).toBeGreaterThan(20)
        const { resumed, steps } = await (await begin('wasm', false, saved + 100)).taken
        expect(resumed).toBe(saved)
        expect(steps).toEqual((await undisturbed('wasm', saved + 100)).slice(saved))
      },
      patience,
    )
  },
  launchWithTabs,
)
