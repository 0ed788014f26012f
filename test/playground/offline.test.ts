import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { describeWithChromium } from '../web/browser.js'
import { serve } from '../web/server.js'
import { buildPlayground, openPlayground, patience } from './playground.js'

describeWithChromium('service worker of a new version of the page', openPlayground, (browser) => {
  it(
    'an old page in the HTTP cache > is not stored as the new one',
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-offline-'))
      const built = readFileSync(join(await buildPlayground(), 'offline.js'), 'utf8')
      const write = (version: string) => {
        writeFileSync(join(folder, 'index.html'), `<title>${version}</title>`)
        const files = JSON.stringify({ version, page: ['./'], builds: { jspi: [], asyncify: [], wasm: [] } })
        writeFileSync(join(folder, 'offline.js'), built.replace(/\{"version":.*?\}\}/, files))
      }
      write('first')
      const server = await serve(folder, new Map(), { 'Cache-Control': 'max-age=600' })
      const { tab } = await browser().openTab()
      await tab.goto(server.url)
      await tab.evaluate(async () => {
        await navigator.serviceWorker.register('./offline.js')
        await navigator.serviceWorker.ready
      })
      write('second')
      const stored = await tab.evaluate(async () => {
        const registration = await navigator.serviceWorker.ready
        await registration.update()
        while (!registration.waiting) await new Promise((resolve) => setTimeout(resolve, 50))
        const all = await Promise.all(
          (await caches.keys()).map(async (name) => (await (await caches.open(name)).match('./'))!.text()),
        )
        return all.sort()
      })
      expect(stored).toEqual(['<title>first</title>', '<title>second</title>'])
      await tab.close()
      await server.close()
      rmSync(folder, { recursive: true })
    },
    patience,
  )
})
