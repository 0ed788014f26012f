import type { Page } from 'playwright-core'
import { launchChromium } from '../chromium.js'

/** Seconds from the click that starts a story. */
export interface StoryTimes {
  readonly story: string
  /** Until the first answer of a model, trained or not, is shown. */
  readonly answer: number
  /** Until the first training step is reported; of the webcam from pressing Train. */
  readonly step: number
  /** Until training ends; of the webcam from pressing Train. */
  readonly end: number
}

/** Flags of a camera with moving patterns, without a permission prompt. */
const camera = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream']

const patience = { timeout: 120_000 }

/** Times the stories of the playground at an address, each in a Chromium of its own that has visited nothing before. */
export async function timeStories(url: string): Promise<readonly StoryTimes[]> {
  const times: StoryTimes[] = []
  for (const story of ['digits', 'camera', 'table']) {
    const { context, close } = await launchChromium(camera)
    try {
      const tab = await context.newPage()
      await tab.goto(url)
      // Where a server sends no headers, the service worker loads the page again with them.
      await tab.waitForFunction('crossOriginIsolated', undefined, patience)
      await tab.waitForSelector(`#story-${story}`)
      times.push({ story, ...(await timeStory(tab, story)) })
    } finally {
      await close()
    }
  }
  return times
}

async function timeStory(tab: Page, story: string): Promise<Omit<StoryTimes, 'story'>> {
  const start = performance.now()
  const since = (from: number) => (performance.now() - from) / 1000
  await tab.click(`#story-${story}`)
  if (story !== 'camera') {
    const [answer, step, end] = await Promise.all([
      tab.waitForSelector('#seen meter', patience).then(() => since(start)),
      firstStep(tab).then(() => since(start)),
      isDone(tab).then(() => since(start)),
    ])
    return { answer, step, end }
  }
  // Classes have no answers before they have examples: a second of each is recorded.
  await tab.waitForFunction('document.querySelector("video").videoWidth > 0', undefined, patience)
  for (const card of [1, 2]) {
    await tab.hover(`#cards > li:nth-child(${card}) .record`)
    await tab.mouse.down()
    await tab.waitForTimeout(1000)
    await tab.mouse.up()
  }
  await tab.waitForSelector('#seen meter', patience)
  const answer = since(start)
  const trained = performance.now()
  await tab.click('#train')
  const [step, end] = await Promise.all([
    firstStep(tab).then(() => since(trained)),
    isDone(tab).then(() => since(trained)),
  ])
  return { answer, step, end }
}

const firstStep = (tab: Page) => tab.locator('#progress-text', { hasText: /^Step/ }).waitFor({ ...patience })

const isDone = (tab: Page) => tab.locator('#status', { hasText: /^Done/ }).waitFor({ ...patience })
