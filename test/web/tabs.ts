import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium, type Page } from 'playwright-core'
import { chromiumPath, flags } from '../../tools/chromium.js'
import { heard, liftoffFlag, swiftShaderFlag } from './browser.js'

/**
 * Starts Chromium with its normal tab behavior: background tabs are hidden. Playwright reports every page as visible
 * and disables the throttling of hidden tabs.
 */
export async function launchWithTabs(more: readonly string[] = []) {
  const profile = mkdtempSync(join(tmpdir(), 'onnx-ire-chromium-'))
  const args = [
    ...flags,
    swiftShaderFlag,
    liftoffFlag,
    ...more,
    '--remote-debugging-port=0',
    `--user-data-dir=${profile}`,
    'about:blank',
  ]
  const child = spawn(chromiumPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const address = new Promise<string>((resolve, reject) => {
    let said = ''
    child.stderr.on('data', (text) => {
      said += text
      const found = /DevTools listening on (\S+)/.exec(said)
      if (found) resolve(found[1]!)
    })
    child.on('exit', () => reject(new Error(`Chromium does not start: ${said}`)))
  })
  const browser = await chromium.connectOverCDP(await address, { noDefaults: true })
  const [context] = browser.contexts()
  const close = async () => {
    const ended = once(child, 'exit')
    const session = await browser.newBrowserCDPSession()
    await session.send('Browser.close').catch(() => {}) // it may be gone before it answers
    await ended
    rmSync(profile, { recursive: true, force: true, maxRetries: 10 })
  }
  return { context: context!, tab: heard(context!.pages()[0]!), close }
}

/** Brings another tab to the front, until `show`. */
export async function hide(tab: Page): Promise<{ show(): Promise<void> }> {
  const other = await tab.context().newPage()
  await other.bringToFront()
  await tab.waitForFunction("document.visibilityState === 'hidden'", undefined, { polling: 50 })
  return {
    show: async () => {
      await tab.bringToFront()
      await tab.waitForFunction("document.visibilityState === 'visible'", undefined, { polling: 50 })
      await other.close()
    },
  }
}

/** Freezes a hidden tab with its workers, as browsers do after minutes, until `thaw`. */
export async function freeze(tab: Page): Promise<{ thaw(): Promise<void> }> {
  const session = await tab.context().newCDPSession(tab)
  const set = async (state: 'frozen' | 'active') => void (await session.send('Page.setWebLifecycleState', { state }))
  await set('frozen')
  return { thaw: () => set('active') }
}
