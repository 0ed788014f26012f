import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { expect, it } from 'vitest'
import { describeWithChromium } from './browser.js'
import { openPlayground, patience } from './playground.js'
import { csv, small } from './playground-examples.js'

describeWithChromium('training data in the playground', openPlayground, (browser) => {
  it(
    'a folder of images per class > trains',
    async () => {
      const page = browser()
      const folder = join(page.folder, 'shapes')
      for (const [k, name] of ['dark', 'light'].entries()) {
        mkdirSync(join(folder, name), { recursive: true })
        for (let i = 0; i < 12; i++) {
          const background = { r: 150 * k + i, g: 150 * k + 2 * i, b: 120 * k }
          await sharp({ create: { width: 12, height: 10, channels: 3, background } }).toFile(
            join(folder, name, `${i}.png`),
          )
        }
      }
      await page.open()
      await page.openModel('small.onnx', small)
      await page.says(/^small.onnx is open/)
      await page.set({ size: '8' })
      await page.says(/choose the data again/)
      await page.tab.setInputFiles('#folder', folder)
      await page.says(/^Ready/)
      expect(await page.text('#data-summary')).toBe(
        '24 examples of 2 classes: dark (12), light (12). The last layer is replaced by one of 2 classes.',
      )
      await page.train({ epochs: '1', batch: '9' })
      await page.says(/^Done/)
      await page.tab.check('input[value=csv]')
      await page.tab.setInputFiles('#csv', page.file('rows.csv', csv))
      await page.says(/Choose the column/)
      await page.tab.click('#use-csv')
      await expect(page.says(/^Ready/)).rejects.toThrow(/This model takes pictures, and a CSV file holds rows/)
    },
    patience,
  )

  it(
    'drawings by mouse and keyboard > trains',
    async () => {
      const page = browser()
      const { keyboard } = page.tab
      await page.open()
      await page.openModel('small.onnx', small)
      await page.says(/^small.onnx is open/)
      await page.tab.check('input[value=draw]')
      await page.tab.click('#add-drawn')
      await expect(page.says(/examples/)).rejects.toThrow(/Draw something first/)
      for (let i = 0; i < 4; i++) {
        await page.draw('#pad', [[0.2 + 0.1 * i, 0.2], [0.3 + 0.1 * i, 0.8]]) // biome-ignore format: a line
        await page.tab.click('#add-drawn')
        await page.says(new RegExp(`^${2 * i + 1} examples? shown`))
        await page.tab.fill('#draw-label', '1')
        await page.tab.focus('#pad')
        await keyboard.press('ArrowUp')
        expect(await page.ink('#pad')).toBe(0)
        await keyboard.press('Space')
        for (let k = 0; k < 3 + i; k++) await keyboard.press('ArrowRight')
        await keyboard.press('Space')
        const drawn = await page.ink('#pad')
        expect(drawn).toBeGreaterThan(200)
        await keyboard.press('ArrowDown')
        expect(await page.ink('#pad')).toBe(drawn)
        // Move on to the next field and the button after it.
        await keyboard.press('Tab')
        await keyboard.press('Tab')
        await keyboard.press('Enter')
        await page.says(new RegExp(`^${2 * i + 2} examples shown`))
        expect(await page.ink('#pad')).toBe(0)
        await page.tab.fill('#draw-label', '0')
      }
      await page.tab.focus('#pad')
      await keyboard.press('Space')
      await keyboard.press('Delete')
      expect(await page.ink('#pad')).toBe(0)
      await page.tab.click('#use-shown')
      await page.says(/^Ready/)
      expect(await page.text('#data-summary')).toMatch(/^8 examples of 2 classes: 0 \(4\), 1 \(4\)\./)
      await page.train({ epochs: '1', batch: '4' })
      await page.says(/^Done/)
      expect((await page.claimed('ire')).loss).toBeGreaterThan(0)
    },
    patience,
  )

  it(
    'webcam > takes examples, and turns off when another source is chosen',
    async () => {
      const page = browser()
      await page.open()
      await page.openModel('small.onnx', small)
      await page.says(/^small.onnx is open/)
      await page.tab.check('input[value=camera]')
      await page.tab.click('#camera-on')
      await page.tab.waitForSelector('#add-filmed:enabled')
      await page.tab.click('#add-filmed')
      await page.says(/^1 example/)
      await page.tab.fill('#camera-label', 'b')
      await page.tab.click('#add-filmed')
      await page.says(/^2 examples/)
      await page.tab.click('#use-shown')
      await page.says(/^Ready/)
      expect(await page.text('#data-summary')).toMatch(/^2 examples of 2 classes: a \(1\), b \(1\)\./)
      const live = () =>
        page.tab.evaluate(() => (document.querySelector('video')!.srcObject as MediaStream | null)?.active ?? false)
      expect(await live()).toBe(true)
      await page.tab.check('input[value=draw]')
      expect(await live()).toBe(false)
    },
    patience,
  )
})
