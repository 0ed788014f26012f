import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { expect, it } from 'vitest'
import { findViolations } from '../web/axe.js'
import { describeWithChromium } from '../web/browser.js'
import { countExamples, drawFolder, small } from './examples.js'
import { openPlayground, type Playground, patience } from './playground.js'

/**
 * Optional folder for screenshots of all states: `PLAYGROUND_GALLERY=docs/playground`; also writes docs/playground.png.
 */
const gallery = process.env['PLAYGROUND_GALLERY']

interface State {
  readonly file: string
  readonly title: string
}
const shown: State[] = []

/** Checks the accessibility of the page as it is, light and dark, and takes its screenshot. */
async function check(page: Playground, file: string, title: string, dark = false): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.tab.emulateMedia({ colorScheme })
    // Of all rules, only that of colors depends on the scheme.
    const rules = colorScheme === 'dark' ? ['color-contrast'] : undefined
    expect(await findViolations(page.tab, rules), `${title}, ${colorScheme}`).toEqual([])
  }
  // Widths are rounded to whole pixels.
  expect(await page.tab.evaluate('document.documentElement.scrollWidth - innerWidth'), title).toBeLessThanOrEqual(1)
  await page.tab.emulateMedia({ colorScheme: null })
  await picture(page, file, title, dark)
}

/** Takes a screenshot for the gallery, if there is one. */
async function picture(page: Playground, file: string, title: string, dark = false): Promise<void> {
  if (!gallery) return
  await page.tab.emulateMedia({ colorScheme: dark ? 'dark' : 'light' })
  await mkdir(gallery, { recursive: true })
  await page.tab.waitForTimeout(400)
  const taken = sharp(await page.tab.screenshot({ fullPage: true }))
  const { width } = await taken.metadata()
  await taken
    .resize({ width: Math.min(width, 900) })
    .webp({ quality: 70 })
    .toFile(join(gallery, `${file}.webp`))
  shown.push({ file, title })
  await page.tab.emulateMedia({ colorScheme: null })
}

/** A table with columns of numbers, of texts and with missing values. */
const birds = [
  'name,island,beak length (mm),body mass (g),species',
  ...Array.from({ length: 30 }, (_, i) =>
    [
      `bird ${i + 1}`,
      i % 2 ? 'Dream' : 'Biscoe',
      (38 + (i % 9) / 2).toFixed(1),
      i % 8 === 3 ? 'NA' : 3500 + 60 * i,
      i % 3 ? 'Adelie' : 'Gentoo',
    ].join(),
  ),
].join('\n')

const desktop = { width: 1280, height: 900 }
const phone = { width: 390, height: 844 }

describeWithChromium('states of the playground', openPlayground, (browser) => {
  it(
    'every state > is accessible, light and dark, and as wide as its window',
    async () => {
      const page = browser()
      await page.tab.setViewportSize(desktop)
      // A picture of the whole page is as much narrower than the page as a scroll bar is wide.
      const session = await page.context.newCDPSession(page.tab)
      await session.send('Emulation.setScrollbarsHidden', { hidden: true })
      await page.open()
      await check(page, 'start', 'Start page')
      await page.tab.setViewportSize(phone)
      await check(page, 'start-phone', 'Start page on a phone, dark', true)
      await page.tab.setViewportSize(desktop)
      await page.openModel('notes.onnx', 'Dear diary, this is no model.')
      await expect(page.says(/is open/)).rejects.toThrow(/it is a text file/)
      await check(page, 'error', 'A file that is no model')

      await page.pauseAt(30)
      await page.tab.click('#story-digits')
      // Before training there is an answer already, for a digit that nobody has to draw.
      await page.tab.waitForSelector('#seen-untrained meter')
      expect(await page.tab.isVisible('#try-example')).toBe(true)
      await page.says(/^Paused/)
      // Both ways to train are explained beside their curves, and the other settings are folded.
      expect(await page.text('.explained')).toMatch(/AdamW\s+The usual way.*AdamW \+ IRE\s+The same, but faster/s)
      expect(await page.tab.isVisible('#epochs')).toBe(false)
      await check(page, 'digits-training', 'Handwriting, while it trains')
      await page.tab.click('#pause')
      await page.says(/^Done: now draw/)
      const loop = Array.from({ length: 25 }, (_, i) => (2 * Math.PI * i) / 24)
      await page.draw('#try-pad', loop.map((a) => [0.5 - 0.2 * Math.sin(a), 0.5 - 0.3 * Math.cos(a)] as const)) // biome-ignore format: a line
      // The drawn circle is a zero for both models.
      for (const contender of ['base', 'ire']) await expect.poll(() => page.text(`#seen-${contender} b`)).toBe('0')
      // Of an example of the page nothing is lost, so leaving does not ask.
      expect(await page.tab.evaluate(() => dispatchEvent(new Event('beforeunload', { cancelable: true })))).toBe(true)
      const accuracy = (await page.claimed('ire')).accuracy
      expect(accuracy).toBeGreaterThan(0.85)
      await check(page, 'digits', 'Handwriting, trained')
      if (gallery) {
        await page.tab.evaluate(() => scrollTo(0, 0))
        const clip = { x: 0, y: 0, width: 1280, height: 1160 }
        const taken = sharp(await page.tab.screenshot({ fullPage: true, clip }))
        await taken.png({ palette: true, colours: 128 }).toFile(join(gallery, '../playground.png'))
      }
      await page.tab.setViewportSize(phone)
      await check(page, 'digits-phone', 'Handwriting on a phone')
      await page.tab.setViewportSize(desktop)

      await page.tab.click('#home')
      await page.tab.waitForSelector('#finished:not([hidden])')
      await check(page, 'finished', 'Start page with finished models')

      await page.tab.click('#story-camera')
      await page.says(/^Show something to the camera/)
      for (const card of [1, 2]) {
        await page.tab.locator(`#cards > li:nth-child(${card}) .record`).hover()
        await page.tab.mouse.down()
        await expect
          .poll(async () => Number(await page.text(`#cards > li:nth-child(${card}) .count`)))
          .toBeGreaterThan(5)
        await page.tab.mouse.up()
      }
      const recorded = await page.tab.locator('#cards .thumbs li').count()
      await page.tab.waitForSelector('#seen-untrained meter')
      await check(page, 'webcam', 'Webcam, before training, dark', true)
      await page.tab.setViewportSize(phone)
      await check(page, 'webcam-phone', 'Webcam on a phone, before training')
      await page.tab.setViewportSize(desktop)
      await expect.poll(() => countExamples(page)).toBe(recorded)

      await page.open()
      await page.tab.waitForSelector('#unfinished:not([hidden])')
      await check(page, 'unfinished', 'Start page after a visit that ended before training')
      await page.tab.click('#forget-unfinished')
      await page.says(/^It is forgotten/)
      await page.tab.click('#story-table')
      await page.says(/^Done: now move/)
      await expect.poll(() => page.text('#seen-ire b')).toBe('Adelie')
      await check(page, 'table', 'Table, trained')
      await picture(page, 'table-dark', 'Table, trained, dark', true)

      await page.tab.click('#home')
      await page.openModel('small.onnx', small)
      await page.says(/^small.onnx is open/)
      // The curves of the model before are not those of this one.
      expect(await page.tab.isVisible('#curves-section')).toBe(false)
      await page.unfold()
      await page.tab.check('input[name=source][value=draw]')
      await check(page, 'own-draw', "A model of one's own, with all settings: draw")
      await page.tab.check('input[name=source][value=idx]')
      await check(page, 'own-idx', "A model of one's own: MNIST files")
      await page.tab.check('input[name=source][value=photos]')
      const photo = join(await drawFolder(page), 'light/3.png')
      for (const card of [1, 2]) await page.tab.setInputFiles(`#cards > li:nth-child(${card}) input[type=file]`, photo)
      await page.tab.check('input[name=try][value=photo]')
      await page.tab.setInputFiles('#try-photo', photo)
      await page.tab.waitForSelector('#seen-untrained meter')
      await check(page, 'own-photos', "A model of one's own: photos, before training")
      await page.tab.check('input[name=source][value=folder]')
      await page.tab.setInputFiles('#folder', await drawFolder(page))
      await page.says(/^Ready/)
      await check(page, 'own-folder', "A model of one's own, and a folder of pictures, before training")

      await page.tab.click('#home')
      await page.tab.click('#story-csv')
      // The open model is of no use for a table.
      for (const part of ['#sources', '#model-section', '#try-section'])
        expect(await page.tab.isVisible(part)).toBe(false)
      await page.tab.setInputFiles('#csv', page.file('birds.csv', birds))
      await page.says(/^Choose the column/)
      await check(page, 'preview', 'The first rows of a table, dark', true)
      await page.tab.setViewportSize(phone)
      await check(page, 'preview-phone', 'The first rows of a table on a phone')
      await page.tab.setViewportSize(desktop)
      if (gallery) await writeFile(join(gallery, 'README.md'), pageOf(shown))
    },
    patience,
  )
})

/** The gallery as a page. */
const pageOf = (states: readonly State[]): string =>
  `# The playground in pictures

\`PLAYGROUND_GALLERY=docs/playground npx vitest run test/playground/gallery.test.ts\` writes this page.

${states.map(({ file, title }) => `## ${title}\n\n![${title}](${file}.webp)\n`).join('\n')}`
