import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BrowserContext, chromium } from 'playwright-core'

/** Debian's Chromium, which includes a software GPU; CHROMIUM names another one. */
export const chromiumPath = process.env['CHROMIUM'] ?? '/usr/bin/chromium'

export const flags = [
  '--headless=new',
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export interface Chromium {
  readonly context: BrowserContext
  close(): Promise<void>
}

/** Returns why Chromium cannot be started; undefined if it can. */
export function whyNoChromium(path = chromiumPath): string | undefined {
  try {
    accessSync(path, constants.X_OK)
    return undefined
  } catch {
    return `no executable Chromium at ${path} (apt-get install chromium)`
  }
}

/** Chromium, headless, with a profile of its own, which goes when it is closed. */
export async function launchChromium(more: readonly string[] = [], executablePath = chromiumPath): Promise<Chromium> {
  const profile = mkdtempSync(join(tmpdir(), 'onnx-ire-chromium-'))
  // Playwright's own headless mode is another one.
  const options = { executablePath, headless: false, args: [...flags, ...more] }
  const context = await chromium.launchPersistentContext(profile, options)
  return {
    context,
    close: async () => {
      await context.close()
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}
