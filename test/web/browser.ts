import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BrowserContext, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe } from 'vitest'
import { type ErrorCode, OnnxIreError } from '../../src/util/errors.js'
import { chromiumPath, flags } from '../../tools/chromium.js'
import { needs } from '../requirements.js'
import { prefix } from '../shared-build.js'
import type { Answer, Call } from './pages/call.js'
import { buildPages } from './pages.js'
import { type Exchange, serve } from './server.js'

const chromiumNeeded = await needs('chromium')

export interface Browser {
  /** The functions of a module of `pages`, called in the page. */
  readonly page: Caller
  /** Calls a function in the worker of the page. */
  readonly worker: Caller
  /** Files that pages read and write below /exchange/. */
  readonly exchange: Exchange
  /** Base address of the pages. */
  readonly url: string
  readonly tab: Page
  /** Reloads the page; unsaved state is lost. */
  reload(): Promise<void>
  /** Closes the tab without a word, as a browser that is short of memory does, and opens the page in another one. */
  discard(): Promise<void>
}

/**
 * Calls a function of a module of `pages`. Arguments and result travel as JSON; errors of the library arrive as such.
 */
export type Caller = <T = unknown>(module: string, name: string, ...args: readonly unknown[]) => Promise<T>

/** Suite of tests in Chromium, skipped if Chromium is not installed. */
export function describeInBrowser(
  name: string,
  tests: (browser: () => Browser) => void,
  start: typeof launch = launch,
): void {
  describeWithChromium(name, () => openBrowser(start), tests)
}

/** Suite of tests in Chromium with a custom object, opened before the tests and closed after them. */
export function describeWithChromium<T>(
  name: string,
  open: () => Promise<{ readonly browser: T; readonly close: () => Promise<void> }>,
  tests: (browser: () => T) => void,
): void {
  describe(name, chromiumNeeded, () => {
    let browser: T | undefined
    let close: (() => Promise<void>) | undefined
    beforeAll(async () => {
      const opened = await open()
      browser = opened.browser
      close = opened.close
    }, 300_000)
    afterAll(() => close?.())
    tests(() => browser!)
  })
}

/**
 * Flag for SwiftShader, Chromium's software GPU: shaders zero their workgroup memory in a loop instead of by the Vulkan
 * extension, which SwiftShader compiles to one store per element. The shaders of a small training run compile in 1.4 s
 * of CPU time for 10.
 */
export const swiftShaderFlag = '--disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension'

/**
 * Flag for V8: WebAssembly is compiled quickly and not optimized. Most pages and workers of the tests would spend more
 * on optimizing onnxruntime than they compute.
 */
export const liftoffFlag = '--js-flags=--liftoff-only'

/** Flags for a fake camera with moving patterns, without a permission prompt. */
const camera = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream']

/**
 * Chromium of this process, which all its test files use: a start takes seconds of CPU time. It ends with the process.
 */
let shared: Promise<BrowserContext> | undefined

async function startShared(): Promise<BrowserContext> {
  // Playwright's own headless mode is another one. The teardown of the run removes the profile.
  const options = {
    executablePath: chromiumPath,
    headless: false,
    args: [...flags, swiftShaderFlag, ...camera, liftoffFlag],
  }
  const profile = join(tmpdir(), `${prefix(process.ppid)}chromium-${process.pid}-${Date.now()}`)
  const context = await chromium.launchPersistentContext(profile, options)
  context.on('close', () => {
    shared = undefined
  })
  return context
}

/** A tab in the Chromium of this process, whose errors are shown. Closing it closes the tabs opened since, too. */
export async function launch(): Promise<{
  readonly context: BrowserContext
  readonly tab: Page
  readonly close: () => Promise<void>
}> {
  shared ??= startShared()
  const context = await shared
  const before = new Set(context.pages())
  const tab = heard(await context.newPage())
  return {
    context,
    tab,
    close: async () => {
      for (const page of context.pages()) if (!before.has(page)) await page.close()
    },
  }
}

/** A tab for `describeWithChromium`. */
export async function openTab(): Promise<{ readonly browser: Page; readonly close: () => Promise<void> }> {
  const { tab, close } = await launch()
  return { browser: tab, close }
}

/** A tab whose errors are shown, and which has time: the machine may be slow and shared. */
export function heard(tab: Page): Page {
  tab.setDefaultTimeout(120_000)
  tab.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') console.warn(`browser: ${message.text()}`)
  })
  tab.on('pageerror', (error) => console.warn(`browser: ${error}`))
  return tab
}

async function openBrowser(start: typeof launch): Promise<{ browser: Browser; close: () => Promise<void> }> {
  const exchange: Exchange = new Map()
  const pages = await buildPages()
  const server = await serve(pages, exchange)
  const { context, close, ...first } = await start()
  let { tab } = first
  // A service worker of an earlier server on this port would answer with its page.
  const devtools = await context.newCDPSession(tab)
  await devtools.send('Storage.clearDataForOrigin', {
    origin: new URL(server.url).origin,
    storageTypes: 'service_workers',
  })
  await devtools.detach()
  const load = async () => {
    await tab.goto(server.url)
    await tab.waitForFunction('globalThis.ready === true')
  }
  await load()
  const caller =
    (where: 'inPage' | 'inWorker'): Caller =>
    async <T>(module: string, name: string, ...args: readonly unknown[]) => {
      const answer = await tab.evaluate(
        ([where, call]) => (globalThis as unknown as Record<string, (call: Call) => Promise<Answer>>)[where]!(call),
        [where, { module, name, args }] as const,
      )
      if ('value' in answer) return answer.value as T
      const { code, message, stack } = answer.error
      throw code
        ? new OnnxIreError(code as ErrorCode, message)
        : new Error(`in the browser: ${message}\n${stack ?? ''}`)
    }
  return {
    browser: {
      page: caller('inPage'),
      worker: caller('inWorker'),
      exchange,
      url: server.url,
      get tab() {
        return tab
      },
      reload: load,
      discard: async () => {
        const next = heard(await context.newPage())
        await tab.close()
        tab = next
        await load()
      },
    },
    close: async () => {
      await close()
      await server.close()
    },
  }
}
