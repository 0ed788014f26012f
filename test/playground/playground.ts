import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BrowserContext, Page, Request } from 'playwright-core'
import { sharedBuild } from '../shared-build.js'
import { heard, launch } from '../web/browser.js'
import { type Exchange, serve } from '../web/server.js'

const sources = fileURLToPath(new URL('../../tools/playground', import.meta.url))

/** Builds the playground. Returns the folder of its files. */
export const buildPlayground = (): Promise<string> =>
  sharedBuild('playground', async (outDir) => {
    const { build } = await import('vite')
    return build({ configFile: join(sources, 'vite.config.ts'), logLevel: 'error', build: { outDir } })
  })

/** Chromium with the playground as `npm run playground:build` makes it, served with these headers below a path. */
export async function openPlayground(
  headers?: Readonly<Record<string, string>>,
  start = launch,
  base?: string,
): Promise<{ browser: Playground; close: () => Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-playground-'))
  const page = await buildPlayground()
  const exchange: Exchange = new Map()
  const server = await serve(page, exchange, headers, base)
  const { context, tab, close } = await start()
  await tab.setViewportSize({ width: 1100, height: 900 })
  await tab.addInitScript(recordStatus)
  const requests: string[] = []
  const record = (request: Request) => requests.push(request.url())
  context.on('request', record)
  return {
    browser: new Playground(context, tab, server.url, folder, exchange, requests),
    close: async () => {
      context.off('request', record)
      await close()
      await server.close()
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** The page, used as people do. */
export class Playground {
  readonly context: BrowserContext
  readonly tab: Page
  readonly url: string
  /** For files that the tests pick. */
  readonly folder: string
  /** More files of the page's origin, below /exchange/. */
  readonly exchange: Exchange
  /** Addresses of all requests of the page and its workers. */
  readonly requests: readonly string[]

  constructor(
    context: BrowserContext,
    tab: Page,
    url: string,
    folder: string,
    exchange: Exchange,
    requests: readonly string[],
  ) {
    this.context = context
    this.tab = tab
    this.url = url
    this.folder = folder
    this.exchange = exchange
    this.requests = requests
  }

  /** Closes the tab without a word, as a browser that is short of memory does, and opens the page in another one. */
  async discard(): Promise<Playground> {
    const next = await this.openTab()
    await this.tab.close()
    await next.open()
    return next
  }

  /** Opens an empty tab in front of this one, for the same page. */
  async openTab(): Promise<Playground> {
    const tab = heard(await this.context.newPage())
    await tab.addInitScript(recordStatus)
    return new Playground(this.context, tab, this.url, this.folder, this.exchange, this.requests)
  }

  /** Reloads the page. */
  async open(): Promise<void> {
    await this.tab.goto(this.url)
    await this.says(/^Choose a story/)
  }

  /**
   * Waits until the status line has matched since the status that the last call returned or rejected with: neither an
   * earlier status nor one that is replaced soon counts. Rejects on an unexpected error of an action that has ended.
   */
  async says(wanted: RegExp): Promise<string> {
    const found = await this.tab.waitForFunction(
      ({ source, flags }) => {
        const { said } = window as unknown as { said: Said }
        const later = said.texts.slice(said.seen)
        const at = later.findIndex((text) => new RegExp(source, flags).test(text))
        const failed = said.kind === 'error' && document.body.ariaBusy !== 'true' && later.length > 0
        if (at < 0 && !failed) return null
        said.seen += at < 0 ? later.length : at + 1
        return { text: later.at(at)!, failed: at < 0 }
      },
      { source: wanted.source, flags: wanted.flags },
      { timeout: patience / 2, polling: 50 },
    )
    const { text, failed } = (await found.jsonValue())!
    if (failed) throw new Error(`the page says: ${text}`)
    return text
  }

  /** All texts of the status line since the page was loaded. */
  said(): Promise<readonly string[]> {
    return this.tab.evaluate(() => (window as unknown as { said: Said }).said.texts)
  }

  /**
   * Goes on with the unfinished training run, and returns the number in the first text about its progress: that of the
   * first step after those that were stored.
   */
  async goOn(): Promise<number> {
    await this.tab.evaluate(() => {
      const progress = document.getElementById('progress-text')!
      const observer = new MutationObserver(() => {
        const step = /^Step (\d+)/.exec(progress.textContent)?.[1]
        if (!step) return
        observer.disconnect()
        Object.assign(window, { firstStep: Number(step) })
      })
      observer.observe(progress, { childList: true })
    })
    await this.tab.click('#go-on')
    await this.says(/^Training/)
    const found = await this.tab.waitForFunction(() => (window as unknown as { firstStep?: number }).firstStep)
    return (await found.jsonValue())!
  }

  /** Starts training, and pauses it as soon as the page shows a step from `step` on, or before the first one. */
  async trainPaused(settings: Readonly<Record<string, string>>, step = 0): Promise<void> {
    await this.pauseAt(step)
    await this.train(settings)
    await this.says(/^Paused/)
    await this.stepped()
  }

  /** Lets the page pause the next training run itself: a test that looks from outside may be late. */
  async pauseAt(step: number): Promise<void> {
    await this.tab.evaluate((step) => {
      const progress = document.getElementById('progress-text')!
      const observer = new MutationObserver(() => {
        if (Number(/^Step (\d+)/.exec(progress.textContent)?.[1] ?? 0) < step) return
        observer.disconnect()
        document.getElementById('pause')!.click()
      })
      observer.observe(progress, { childList: true })
    }, step)
  }

  /** Waits until the training run that was started last has taken a step. */
  async stepped(): Promise<void> {
    await this.tab.waitForFunction(
      () => document.getElementById('progress-text')!.textContent.startsWith('Step '),
      undefined,
      { timeout: patience / 2, polling: 50 },
    )
  }

  text(selector: string): Promise<string> {
    return this.tab
      .locator(selector)
      .textContent()
      .then((text) => text?.trim() ?? '')
  }

  /** Writes a file to pick. */
  file(name: string, content: Uint8Array | string): string {
    const path = join(this.folder, name)
    writeFileSync(path, content)
    return path
  }

  async openModel(name: string, content: Uint8Array | string): Promise<void> {
    await this.tab.setInputFiles('#model-file', this.file(name, content))
  }

  async set(settings: Readonly<Record<string, string>>): Promise<void> {
    await this.unfold()
    for (const [id, value] of Object.entries(settings)) {
      const field = this.tab.locator(`#${id}`)
      if ((await field.evaluate((element) => element.tagName)) === 'SELECT') await field.selectOption(value)
      else {
        await field.fill(value)
        await field.blur() // what people leave has changed
      }
    }
  }

  /** Opens what is folded: the settings, and the facts of the model. */
  async unfold(): Promise<void> {
    await this.tab.evaluate(() => {
      for (const details of document.querySelectorAll('details')) details.open = true
    })
  }

  /** Draws a line in shares of a canvas, with the mouse. */
  draw(canvas: string, points: readonly (readonly [x: number, y: number])[]): Promise<void> {
    return drawLine(this.tab, canvas, points)
  }

  /** Pixels of a canvas that are not as those of its corner. */
  ink(canvas: string): Promise<number> {
    return this.tab.locator(canvas).evaluate((element) => {
      const { width, height } = element as HTMLCanvasElement
      const { data } = (element as HTMLCanvasElement).getContext('2d')!.getImageData(0, 0, width, height)
      let count = 0
      for (let i = 0; i < data.length; i += 4)
        if ([0, 1, 2, 3].some((channel) => data[i + channel] !== data[channel])) count++
      return count
    })
  }

  /** Starts training, in WebAssembly by default. */
  async train(settings: Readonly<Record<string, string>>): Promise<void> {
    await this.set({ provider: 'wasm', held: String(held), ...settings })
    await this.tab.click('#train')
  }

  /** The metrics that the page shows for a model after its last epoch. */
  async claimed(contender: 'base' | 'ire') {
    const cells = await this.tab.locator(`#result-${contender} td`).allInnerTexts()
    const [loss, heldLoss, share, rise] = cells.map((cell) => Number.parseFloat(cell))
    return { loss: loss!, heldLoss: heldLoss!, accuracy: share! / 100, sharpness: rise! }
  }

  /** The tuned model of a contender, as the page offers it. */
  downloadModel(contender: 'base' | 'ire'): Promise<Uint8Array> {
    return this.download(`#download-${contender}`)
  }

  async download(button: string): Promise<Uint8Array> {
    const [download] = await Promise.all([this.tab.waitForEvent('download'), this.tab.click(button)])
    return readFileSync(await download.path())
  }
}

/** The texts of the status line of a page, and how many of them a test has waited for. */
interface Said {
  readonly texts: string[]
  seen: number
  /** Kind of the last one. */
  kind: string | undefined
}

/** Records the texts of the status line. Runs in the page, before its scripts. */
function recordStatus(): void {
  const said: Said = { texts: [], seen: 0, kind: undefined }
  Object.assign(window, { said })
  document.addEventListener('DOMContentLoaded', () => {
    const status = document.getElementById('status')
    if (!status) return // another page
    const record = () => {
      said.texts.push(status.textContent)
      said.kind = status.dataset['kind']
    }
    record()
    new MutationObserver(record).observe(status, { childList: true, attributeFilter: ['data-kind'] })
  })
}

/** Draws a line in shares of a canvas of a page, with the mouse. */
export async function drawLine(tab: Page, canvas: string, points: readonly (readonly [x: number, y: number])[]) {
  await tab.locator(canvas).scrollIntoViewIfNeeded()
  const { x, y, width, height } = (await tab.locator(canvas).boundingBox())!
  for (const [i, [across, down]] of points.entries()) {
    await tab.mouse.move(x + across * width, y + down * height, { steps: 3 })
    if (i === 0) await tab.mouse.down()
  }
  await tab.mouse.up()
}

/** The share of the examples that tests hold out. */
export const held = 0.25

/** Milliseconds that a test may take: the machine may be slow and shared. */
export const patience = 600_000
