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
/** Enough steps for the tab to be hidden midway; a step takes longer on a software GPU. */
const tasks: Readonly<Record<Where, Task>> = {
  wasm: { ...common, ire: true, steps: 3000 },
  webgpu: { ...common, ire: true, steps: 90 },
}
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

    /** Starts a run and collects its messages. */
    const begin = async (where: Where, fresh: boolean) => {
      const { page, worker, tab } = browser()
      await worker('hidden', 'recordedEvents')
      await page('hidden', 'watch')
      const lines: string[] = []
      const listen = (message: ConsoleMessage) => void lines.push(message.text())
      tab.on('console', listen)
      const taken = worker<Taken>('hidden', 'train', where, tasks[where], fresh)
      const said = (line: RegExp) =>
        expect.poll(() => lines.find((each) => line.test(each)), { timeout: 60_000 }).toBeTruthy()
      return { taken: taken.finally(() => tab.off('console', listen)), lines, said }
    }
    const undisturbed = new Map<Where, Promise<Taken>>()
    /** The result of an uninterrupted run. */
    const whole = async (where: Where) => {
      if (!undisturbed.has(where)) undisturbed.set(where, (await begin(where, true)).taken)
      return undisturbed.get(where)!
    }
    const still = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

    it.each<Where>(['wasm', 'webgpu'])(
      '%s > continues while hidden, pauses while frozen, and ends with the same result',
      async (where) => {
        const wanted = await whole(where)
        expect(wanted.steps.map(([step]) => step)).toEqual(Array.from({ length: tasks[where].steps }, (_, i) => i))
        const { taken, lines, said } = await begin(where, true)
        await said(/^step 20$/)
        const { show } = await hide(browser().tab)
        const behind = lines.length
        await said(/^saved /)
        await expect.poll(() => lines.length, { timeout: 60_000 }).toBeGreaterThan(behind + 1)
        const { thaw } = await freeze(browser().tab)
        await still(500) // what was said before
        const before = lines.length
        await still(3000)
        expect(lines.slice(before)).toEqual([])
        await thaw()
        await show()
        const { steps, saved } = await taken
        expect(await browser().page('hidden', 'recordedEvents')).toEqual([
          'visibilitychange hidden',
          'freeze hidden',
          'resume hidden',
          'visibilitychange visible',
        ])
        expect(saved[0]).toBeLessThan(tasks[where].steps - 1)
        expect(steps).toEqual(wanted.steps)
      },
      patience,
    )

    it(
      'discarded while hidden > resumes in another tab from its last checkpoint',
      async () => {
        const wanted = await whole('wasm')
        const { taken, lines, said } = await begin('wasm', true)
        const gone = expect(taken).rejects.toThrow(/closed/)
        await said(/^step 20$/)
        await hide(browser().tab)
        await said(/^saved /)
        const saved = Number(/\d+/.exec(lines.find((line) => line.startsWith('saved'))!))
        await freeze(browser().tab)
        await browser().discard()
        await gone
        const { resumed, steps } = await (await begin('wasm', false)).taken
        expect(resumed).toBe(saved)
        expect(saved).toBeGreaterThan(20)
        expect(steps).toEqual(wanted.steps.slice(saved))
      },
      patience,
    )
  },
  launchWithTabs,
)
