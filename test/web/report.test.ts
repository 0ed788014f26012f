import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, it } from 'vitest'
import { writeReport } from '../../src/cli/report/write-report.js'
import { readRuns } from '../../src/cli/runs/read-run.js'
import { serveRuns } from '../../src/cli/watch/serve-runs.js'
import { writeRun } from '../cli/stored-runs.js'
import { recipe } from '../cli/workspace.js'
import { describeWithChromium, launch } from './browser.js'

async function open() {
  const root = await mkdtemp(join(tmpdir(), 'onnx-ire-report-'))
  const options = { recipe, loss: 1, accuracy: 0.8, tensors: true }
  const folders = [
    await writeRun(join(root, 'one'), options),
    await writeRun(join(root, 'two'), { ...options, loss: 2 }),
  ]
  const file = join(root, 'report.html')
  await writeFile(file, await writeReport(await readRuns(folders)))
  const { tab, close } = await launch()
  return {
    browser: { tab, address: String(pathToFileURL(file)), root },
    close: async () => {
      await close()
      await rm(root, { recursive: true })
    },
  }
}

describeWithChromium('a report', open, (browser) => {
  it.each([
    ['a phone', 360, 'light'],
    ['a phone', 360, 'dark'],
    ['a desktop', 1400, 'light'],
  ] as const)('is readable on %s, %s px, %s', async (_, width, colorScheme) => {
    const { tab, address } = browser()
    const requests: string[] = []
    tab.on('request', (request) => requests.push(request.url()))
    await tab.setViewportSize({ width, height: 800 })
    await tab.emulateMedia({ colorScheme })
    await tab.goto(address)
    const seen = await tab.evaluate(() => {
      const charts = [...document.querySelectorAll('figure svg')]
      const brightness = (color: string) =>
        color
          .match(/[\d.]+/g)!
          .slice(0, 3)
          .reduce((sum, x) => sum + Number(x), 0) / 3
      const texts = charts.flatMap((svg) => [...svg.querySelectorAll('text')])
      return {
        overflow: document.documentElement.scrollWidth - innerWidth,
        charts: charts.length,
        columns: new Set(charts.map((svg) => Math.round(svg.getBoundingClientRect().left))).size,
        textHeights: texts.map((text) => text.getBoundingClientRect().height),
        page: brightness(getComputedStyle(document.body).backgroundColor),
        text: brightness(getComputedStyle(texts[0]!).fill),
        lines: charts[0]!.querySelectorAll('path[stroke^="var(--c"]').length,
      }
    })
    expect(requests).toEqual([address])
    expect(seen.overflow).toBeLessThanOrEqual(0)
    expect(seen.charts).toBe(16)
    expect(seen.columns).toBe(width < 700 ? 1 : 3)
    expect(seen.lines).toBeGreaterThanOrEqual(4)
    expect(Math.min(...seen.textHeights)).toBeGreaterThanOrEqual(9)
    // Text contrasts with the page in both color schemes.
    expect(seen.page > 128).toBe(colorScheme === 'light')
    expect(Math.abs(seen.page - seen.text)).toBeGreaterThan(90)
    if (process.env['REPORT_SCREENSHOTS'])
      await tab.screenshot({
        path: join(process.env['REPORT_SCREENSHOTS'], `${width}-${colorScheme}.png`),
        fullPage: true,
      })
  })

  it('of onnx-ire watch is renewed while a run writes', async () => {
    const { tab, root } = browser()
    const server = await serveRuns([root], 0)
    await tab.goto(server.url)
    await tab.waitForSelector('figure svg')
    await tab.click('summary >> nth=0')
    await appendFile(join(root, 'one/metrics.jsonl'), '\n{"kind":"step","step":77,"loss":1,"seconds":1}\n')
    await tab.waitForSelector('td >> text="77"')
    // What is open stays open.
    expect(await tab.locator('details[open]').count()).toBe(1)
    await tab.uncheck('input >> nth=0')
    await tab.waitForFunction(() => document.querySelectorAll('table')[0]!.rows.length === 2)
    await server.close()
  })
})
