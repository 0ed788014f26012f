import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { unzipSync } from 'fflate'
import sharp from 'sharp'
import { expect, it } from 'vitest'
import { describeWithChromium } from '../web/browser.js'
import { colorOf, drawFolder, openSmall } from './examples.js'
import { openPlayground, patience } from './playground.js'

/** Files of a folder in the order of their names: 0.png, 1.png, 10.png, ... */
const inNameOrder = Array.from({ length: 12 }, (_, i) => i).sort((a, b) => (`${a}.png` < `${b}.png` ? -1 : 1))

describeWithChromium('training data in the playground', openPlayground, (browser) => {
  it(
    'a folder of images per class > trains',
    async () => {
      const page = browser()
      const folder = await drawFolder(page)
      writeFileSync(join(folder, 'dark', 'broken.jpg'), 'no picture')
      await openSmall(page)
      await page.set({ size: '8' })
      await page.says(/choose the data again/)
      await page.tab.check('input[name=source][value=folder]')
      await page.tab.setInputFiles('#folder', folder)
      await page.says(/^Ready/)
      expect(await page.text('#data-summary')).toBe(
        '24 examples of 2 classes: dark (12), light (12). 1 file could not be read as a picture and was skipped: broken.jpg.',
      )
      // The pictures are shown before training.
      const shown = page.tab.locator('#data-pictures > li')
      expect((await shown.allInnerTexts()).map((text) => text.trim())).toEqual(['dark 12', 'light 12'])
      const colors = await shown
        .locator('canvas')
        .evaluateAll((all) =>
          (all as HTMLCanvasElement[]).map((each) => [...each.getContext('2d')!.getImageData(20, 20, 1, 1).data]),
        )
      expect(colors).toEqual([0, 1].flatMap((k) => inNameOrder.map((i) => [...Object.values(colorOf(k, i)), 255])))
      await page.train({ epochs: '1', batch: '9' })
      await page.says(/^Done/)
      // Node would fail at a file that cannot be read.
      const project = Object.keys(unzipSync(await page.download('#take-project')))
      expect(project.filter((path) => path.startsWith('data/'))).toHaveLength(24)
      // Another source does not have these pictures.
      await page.tab.check('input[name=source][value=idx]')
      expect(await page.tab.isVisible('#data-pictures')).toBe(false)
      expect(await page.tab.isDisabled('#train')).toBe(true)
      // A model of pictures is not offered tables.
      expect(await page.tab.isVisible('input[value=csv]')).toBe(false)
    },
    patience,
  )

  it(
    'table > its first rows and the kinds of its columns are shown, and columns of texts are left out',
    async () => {
      const page = browser()
      await page.open()
      await page.tab.click('#story-csv')
      const rows = Array.from(
        { length: 60 },
        (_, i) => `bird ${i},${i},${i % 7 === 3 ? '' : 2 * i},${i > 30 ? 'tall' : 'short'}`,
      )
      await page.tab.setInputFiles('#csv', page.file('birds.csv', ['name,age,size,kind', ...rows].join('\n')))
      await page.says(/Choose the column/)
      const head = async () =>
        (await page.tab.locator('#csv-preview th').allInnerTexts()).map((text) => text.replace(/\s+/g, ' ').trim())
      expect(await head()).toEqual([
        'name texts, not learned',
        'age numbers',
        'size numbers, some missing',
        'kind class',
      ])
      const first = page.tab.locator('#csv-preview tbody tr')
      expect(await first.count()).toBe(5)
      expect(await first.nth(3).locator('td').allInnerTexts()).toEqual(['bird 3', '3', '', 'short'])
      await page.tab.selectOption('#csv-label', 'name')
      expect((await head())[0]).toBe('name class')
      expect((await head())[3]).toBe('kind texts, not learned')
      await page.tab.selectOption('#csv-label', 'kind')
      await page.tab.click('#use-csv')
      await page.says(/^Ready to train. 9 rows are left out, because values are missing.$/)
      expect(await page.text('#data-summary')).toBe(
        '51 examples of 2 classes: short (27), tall (24). 9 rows are left out, because values are missing.',
      )
      const sliders = page.tab.locator('#try-row label')
      expect((await sliders.allInnerTexts()).map((text) => text.split(':')[0])).toEqual(['age', 'size'])
      // The network answers before it is trained.
      await page.tab.waitForSelector('#seen-untrained meter')
      await page.train({ epochs: '20', batch: '16' })
      await page.says(/^Done/)
      expect((await page.claimed('ire')).accuracy).toBeGreaterThan(0.8)
      // The recipe reads the same columns and rows.
      await page.tab.selectOption('#take-text', 'recipe')
      await expect
        .poll(async () => JSON.parse((await page.text('#take-code')) || '{}').data?.train)
        .toMatchObject({ kind: 'csv', tensors: { row: ['age', 'size'] }, missing: 'skip' })
    },
    patience,
  )

  it(
    'drawings by mouse and keyboard > are added, deleted and restored, and train',
    async () => {
      const page = browser()
      const { keyboard } = page.tab
      const thumbs = (card: number) => page.tab.locator(`#cards > li:nth-child(${card}) .thumbs li`).count()
      await openSmall(page)
      // Without classes there is nothing to answer yet.
      await page.draw('#try-pad', [[0.2, 0.5], [0.8, 0.5]]) // biome-ignore format: a line
      expect(await page.text('#seen')).toBe('Give at least two classes some examples first.')
      await page.tab.click('#clear-try')
      await page.tab.check('input[name=source][value=draw]')
      const add = (card: number) => page.tab.click(`#cards > li:nth-child(${card}) .add-drawn`)
      await add(1)
      await expect(page.says(/examples/)).rejects.toThrow(/Draw something first/)
      expect(await page.tab.isDisabled('#train')).toBe(true)
      for (let i = 0; i < 4; i++) {
        await page.draw('#pad', [[0.2 + 0.1 * i, 0.2], [0.3 + 0.1 * i, 0.8]]) // biome-ignore format: a line
        await add(1)
        await page.says(new RegExp(`^${2 * i + 1} ${i === 0 ? 'example' : 'examples'} shown\\.$`))
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
        await keyboard.press('2')
        await page.says(new RegExp(`^${2 * i + 2} examples shown`))
        expect(await page.ink('#pad')).toBe(0)
      }
      await page.tab.focus('#pad')
      await keyboard.press('Space')
      await keyboard.press('Delete')
      expect(await page.ink('#pad')).toBe(0)

      // One example is deleted and restored, and one class.
      await page.tab.click('#cards > li:nth-child(2) .thumbs button >> nth=1')
      expect(await thumbs(2)).toBe(3)
      await page.tab.click('#undo')
      expect(await thumbs(2)).toBe(4)
      await page.tab.click('#cards > li:nth-child(1) .class-head button')
      expect(await page.tab.locator('#cards > li').count()).toBe(1)
      expect(await page.tab.isDisabled('#train')).toBe(true)
      await page.tab.click('#undo')
      expect(await thumbs(1)).toBe(4)
      await page.tab.click('#add-class')
      await page.tab.fill('#cards > li:nth-child(1) input', 'tall')
      await page.tab.fill('#cards > li:nth-child(2) input', 'tall')
      await page.tab.click('#train')
      await expect(page.says(/^Done/)).rejects.toThrow(/Two classes are called 'tall'/)
      await page.tab.fill('#cards > li:nth-child(2) input', 'flat')
      // The model answers before it is trained.
      await page.draw('#try-pad', [[0.5, 0.2], [0.5, 0.8]]) // biome-ignore format: a line
      await page.tab.waitForSelector('#seen-untrained meter')
      expect(await page.tab.locator('#seen-untrained meter').count()).toBe(2)
      await page.train({ epochs: '1', batch: '4' })
      await page.says(/^Done/)
      expect(await page.text('#data-summary')).toMatch(/^8 examples of 2 classes: tall \(4\), flat \(4\)\./)
      expect((await page.claimed('ire')).loss).toBeGreaterThan(0)
      await page.tab.waitForSelector('#seen-ire meter')
      expect(await page.tab.locator('#seen-untrained').count()).toBe(0)
    },
    patience,
  )

  it(
    'webcam > records while a button is held, shows live predictions, and turns off when another source is chosen',
    async () => {
      const page = browser()
      await page.open()
      // A phone, which has two cameras.
      await page.tab.evaluate(() => {
        const asked: unknown[] = []
        const { mediaDevices } = navigator
        const start = mediaDevices.getUserMedia.bind(mediaDevices)
        mediaDevices.getUserMedia = (constraints) => {
          asked.push((constraints!.video as MediaTrackConstraints).facingMode)
          return start(constraints)
        }
        mediaDevices.enumerateDevices = async () =>
          [{ kind: 'videoinput' }, { kind: 'videoinput' }] as MediaDeviceInfo[]
        Object.assign(window, { asked })
      })
      await page.tab.click('#story-camera')
      await page.says(/^Show something to the camera/)
      const mirrored = () => page.tab.evaluate(() => document.querySelector('video')!.style.transform !== '')
      expect(await mirrored()).toBe(true)
      await page.tab.click('#camera-turn')
      await expect.poll(mirrored).toBe(false)
      expect(await page.tab.evaluate('asked')).toEqual(['user', 'environment'])
      const button = (card: number) => page.tab.locator(`#cards > li:nth-child(${card}) .record`)
      const count = async (card: number) => Number(await page.text(`#cards > li:nth-child(${card}) .count`))
      await button(1).hover()
      await page.tab.mouse.down()
      await expect.poll(() => count(1)).toBeGreaterThan(4)
      await page.tab.mouse.up()
      const held = await count(1)
      await page.tab.waitForTimeout(400)
      expect(await count(1)).toBe(held)
      await button(2).focus()
      await page.tab.keyboard.down('Space')
      await expect.poll(() => count(2)).toBeGreaterThan(4)
      await page.tab.keyboard.up('Space')
      await page.tab.waitForSelector('#seen-untrained meter')
      await page.tab.click('#train')
      await page.says(/^Done/)
      expect(await page.tab.inputValue('#trained-layers')).toBe('head')
      await page.tab.waitForSelector('#seen-ire meter')
      const live = () =>
        page.tab.evaluate(() => (document.querySelector('video')!.srcObject as MediaStream | null)?.active ?? false)
      expect(await live()).toBe(true)
      await page.tab.check('input[name=source][value=draw]')
      expect(await live()).toBe(false)
    },
    patience,
  )

  it(
    'photos > are added to a class; files that are no pictures are skipped and named',
    async () => {
      const page = browser()
      await openSmall(page)
      await page.tab.check('input[name=source][value=photos]')
      const png = await sharp({ create: { width: 20, height: 12, channels: 3, background: '#c33' } })
        .png()
        .toBuffer()
      const files = [page.file('red.png', png), page.file('notes.jpg', 'no picture')]
      await page.tab.setInputFiles('#cards > li:nth-child(1) input[type=file]', files)
      await page.says(/^1 picture added. 1 file could not be read as a picture and was skipped: notes.jpg/)
      const first = () => page.tab.locator('#cards > li:nth-child(1) .thumbs li').count()
      expect(await first()).toBe(1)
      // A picture is deleted while others are read; taking these back leaves the one before.
      await page.tab.evaluate(() => {
        const list = document.querySelector('#cards > li:nth-child(1) .thumbs')!
        const observer = new MutationObserver(() => {
          if (list.children.length < 3) return
          observer.disconnect()
          list.children[1]!.querySelector('button')!.click()
        })
        observer.observe(list, { childList: true })
      })
      const more = Array.from({ length: 8 }, (_, i) => page.file(`red-${i}.png`, png))
      await page.tab.setInputFiles('#cards > li:nth-child(1) input[type=file]', more)
      await page.says(/^8 pictures added/)
      expect(await first()).toBe(8)
      await page.tab.click('#undo')
      expect(await first()).toBe(1)
      // Trying a photo.
      await page.tab.setInputFiles('#cards > li:nth-child(2) input[type=file]', files[0]!)
      await page.says(/^1 picture added/)
      await page.tab.check('input[name=try][value=photo]')
      await page.tab.setInputFiles('#try-photo', files[1]!)
      await expect(page.says(/^Done/)).rejects.toThrow(/notes.jpg could not be read as a picture/)
      await page.tab.setInputFiles('#try-photo', files[0]!)
      await page.tab.waitForSelector('#seen-untrained meter')
      // The error was that of the file before.
      expect(await page.text('#status')).toBe('')
      expect(await page.text('#plan')).toMatch(/^Add more examples: some are held out/)
      await page.train({ epochs: '1' })
      await expect(page.says(/^Done/)).rejects.toThrow(/Every class has one example only: add more/)
      await page.tab.setInputFiles('#cards > li:nth-child(2) input[type=file]', page.file('more.png', png))
      await page.says(/^1 picture added/)
      await page.train({ epochs: '1' })
      await page.says(/^Done/)
      await page.tab.waitForSelector('#seen-ire meter')
    },
    patience,
  )
})
