import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BrowserContext, Page, Request } from 'playwright-core'
import { sharedBuild } from '../shared-build.js'
import { heard, launch } from './browser.js'
import { type Exchange, serve } from './server.js'

const sources = fileURLToPath(new URL('../../tools/playground', import.meta.url))

/** Chromium with the playground as `npm run playground:build` makes it, served with these headers below a path. */
export async function openPlayground(
  headers?: Readonly<Record<string, string>>,
  start = launch,
  base?: string,
): Promise<{ browser: Playground; close: () => Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-playground-'))
  const page = await sharedBuild('playground', async (outDir) => {
    const { build } = await import('vite')
    return build({ configFile: join(sources, 'vite.config.ts'), logLevel: 'error', build: { outDir } })
  })
  const exchange: Exchange = new Map()
  const server = await serve(page, exchange, headers, base)
  const { context, tab, close } = await start()
  await tab.setViewportSize({ width: 1100, height: 900 })
  tab.setDefaultTimeout(60_000)
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
    tab.setDefaultTimeout(60_000)
    return new Playground(this.context, tab, this.url, this.folder, this.exchange, this.requests)
  }

  /** Reloads the page. */
  async open(): Promise<void> {
    await this.tab.goto(this.url)
    await this.says(/^Choose a story/)
  }

  /** Waits until the status line matches; rejects on an unexpected error, unless a later action is still running. */
  async says(wanted: RegExp): Promise<string> {
    const found = await this.tab.waitForFunction(
      ({ source, flags }) => {
        const { textContent, dataset } = document.getElementById('status')!
        const failed = dataset['kind'] === 'error' && document.body.getAttribute('aria-busy') !== 'true'
        return (new RegExp(source, flags).test(textContent!) || failed) && textContent
      },
      { source: wanted.source, flags: wanted.flags },
      { timeout: patience },
    )
    const said = (await found.jsonValue()) as string
    if (!wanted.test(said)) throw new Error(`the page says: ${said}`)
    return said
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

/** Milliseconds: the machine may be slow and shared. */
export const patience = 300_000
