import { readdirSync, readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'
import { launchChromium } from '../chromium.js'

/** Time since a story was started: on the clock, and of the processors for all of Chromium, in seconds. */
export interface Moment {
  readonly clock: number
  readonly cpu: number
}

export interface StoryTimes {
  readonly story: string
  /** Whether the browser has the files, and has had them compiled, since an earlier visit. */
  readonly again: boolean
  /** The first answer of a model, trained or not, is shown. */
  readonly answer: Moment
  /** The first training step is reported; of the webcam since pressing Train. */
  readonly step: Moment
  /** Training ends; of the webcam since pressing Train. */
  readonly end: Moment
}

/** Flags of a camera with moving patterns, without a permission prompt. */
const camera = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream']

const patience = { timeout: 300_000 }

export const stories = ['digits', 'camera', 'table']

/**
 * Times stories of the playground at an address, each in a Chromium of its own that has visited nothing before, and
 * once more in another tab of it.
 */
export async function* timeStories(url: string, stories: readonly string[]): AsyncGenerator<StoryTimes> {
  for (const story of stories) {
    const { context, close } = await launchChromium(camera)
    try {
      for (const again of [false, true]) {
        const tab = await context.newPage()
        await tab.goto(url)
        // Where a server sends no headers, the service worker loads the page again with them.
        await waitUntil(tab, 'globalThis.crossOriginIsolated')
        await tab.waitForSelector(`#story-${story}`)
        yield { story, again, ...(await timeStory(tab, story)) }
        await tab.close()
      }
    } finally {
      await close()
    }
  }
}

async function timeStory(tab: Page, story: string): Promise<Omit<StoryTimes, 'story' | 'again'>> {
  const sinceClick = startClock()
  await tab.click(`#story-${story}`)
  if (story !== 'camera') {
    const [answer, step, end] = await Promise.all([
      tab.waitForSelector('#seen meter', patience).then(sinceClick),
      firstStep(tab).then(sinceClick),
      isDone(tab).then(sinceClick),
    ])
    return { answer, step, end }
  }
  // Classes have no answers before they have examples: a second of each is recorded.
  await waitUntil(tab, 'document.querySelector("video").videoWidth > 0')
  for (const card of [1, 2]) {
    await tab.hover(`#cards > li:nth-child(${card}) .record`)
    await tab.mouse.down()
    await tab.waitForTimeout(1000)
    await tab.mouse.up()
  }
  await tab.waitForSelector('#seen meter', patience)
  const answer = sinceClick()
  const sinceTrain = startClock()
  await tab.click('#train')
  const [step, end] = await Promise.all([firstStep(tab).then(sinceTrain), isDone(tab).then(sinceTrain)])
  return { answer, step, end }
}

function startClock(): () => Moment {
  const [clock, cpu] = [performance.now(), cpuSeconds()]
  return () => ({ clock: (performance.now() - clock) / 1000, cpu: cpuSeconds() - cpu })
}

/** Seconds of the processors that Chromium has taken: all processes in the groups of children of this one, on Linux. */
function cpuSeconds(): number {
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((id) => {
      try {
        // After the name in parentheses: state, parent, group; further on the ticks of a hundredth in user and kernel mode.
        const fields = readFileSync(`/proc/${id}/stat`, 'utf8')
          .replace(/^.*\) /s, '')
          .split(' ')
          .map(Number)
        return [{ parent: fields[1]!, group: fields[2]!, seconds: (fields[11]! + fields[12]!) / 100 }]
      } catch {
        return [] // it has ended
      }
    })
  const groups = new Set(processes.flatMap(({ parent, group }) => (parent === process.pid ? [group] : [])))
  return processes.reduce((sum, { group, seconds }) => sum + (groups.has(group) ? seconds : 0), 0)
}

/** Waits until an expression is true in the page, whose policy forbids a function that waits there. */
async function waitUntil(tab: Page, expression: string): Promise<void> {
  // The page may be loaded again meanwhile.
  while (!(await tab.evaluate(expression).catch(() => false))) await tab.waitForTimeout(50)
}

const firstStep = (tab: Page) => tab.locator('#progress-text', { hasText: /^Step/ }).waitFor({ ...patience })

const isDone = (tab: Page) => tab.locator('#status', { hasText: /^Done/ }).waitFor({ ...patience })
