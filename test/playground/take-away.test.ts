import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { strFromU8, strToU8, unzipSync, zipSync } from 'fflate'
import type { Page } from 'playwright-core'
import sharp from 'sharp'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { input, parameter, tensorFrom } from '../../src/ir/leaf.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { encodeModel } from '../../src/onnx/model.js'
import { op } from '../../src/op/op.js'
import { parseRecipe } from '../../src/recipe/index.js'
import { Random } from '../../src/util/random.js'
import { run } from '../cli/command.js'
import { findViolations } from '../web/axe.js'
import { describeWithChromium } from '../web/browser.js'
import { drawExamples, openSmall, openTable } from './examples.js'
import { drawLine, openPlayground, type Playground, patience } from './playground.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const execute = promisify(execFile)

/** A folder in which the packages are installed. */
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-ire-take-away-'))
  await mkdir(join(folder, 'node_modules/@types'), { recursive: true })
  await symlink(root, join(folder, 'node_modules/onnx-ire'))
  for (const name of ['onnxruntime-node', 'sharp', '@types/node'])
    await symlink(join(root, 'node_modules', name), join(folder, 'node_modules', name))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Unpacks a project below the folder. */
async function unpack(name: string, zip: Uint8Array): Promise<(path: string) => string> {
  const at = (path: string) => join(folder, name, path)
  for (const [path, bytes] of Object.entries(unzipSync(zip))) {
    await mkdir(dirname(at(path)), { recursive: true })
    await writeFile(at(path), bytes)
  }
  return at
}

const code = (page: Playground) => page.text('#take-code')

describeWithChromium('take-away of the playground', openPlayground, (browser) => {
  it(
    'table > recipe and program train in Node, code runs there, and the project opens again',
    async () => {
      const page = browser()
      await openTable(page)
      expect(await page.tab.isEnabled('#take-project')).toBe(false)
      await page.train({ epochs: '30', batch: '8' })
      await page.says(/^Done/)
      const summary = await page.text('#data-summary')
      const zip = await page.download('#take-project')
      const at = await unpack('table', zip)
      const recipe = parseRecipe(await readFile(at('recipe-ire.json'), 'utf8'))
      expect(recipe).toMatchObject({ epochs: 30, batchSize: 8, optimizer: { kind: 'adamw', ire: { kappa: 2 } } })

      const trained = await run('train', at('recipe-ire.json'))
      expect(trained).toMatchObject({ code: 0 })
      const claimed = await page.claimed('ire')
      expect(claimed.accuracy).toBeGreaterThan(0.8)

      // The programs compile, and train as well.
      const compiler = join(root, 'node_modules/typescript/bin/tsc')
      const options = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext', '--target', 'es2023']
      await execute(process.execPath, [compiler, ...options, 'train-base.mts', 'train-ire.mts'], { cwd: at('') })
      await copyFile(at('train-ire.mts'), at('train-ire.mjs'))
      const { stdout } = await execute(process.execPath, ['train-ire.mjs'], { cwd: at('') })
      const accuracies = [...stdout.matchAll(/held-out accuracy ([\d.]+)/g)].map(([, each]) => Number(each))
      expect(accuracies).toHaveLength(30)
      expect(accuracies.at(-1)).toBeGreaterThan(0.8)
      const predicted = await execute(process.execPath, ['predict.mjs'], { cwd: at('') })
      expect(predicted.stdout).toMatch(/^(above|below) [\d.]+ %$/m)

      // The page runs the same model without a network.
      const demo = await openDemo(page, 'table.html', await page.download('#take-demo'))
      const fields = demo.tab.locator('#inputs input')
      expect(await fields.count()).toBe(3)
      for (const [row, best] of [
        [[0.9, 0.9, -0.9], 'above'],
        [[-0.9, -0.9, 0.9], 'below'],
      ] as const) {
        for (const [i, value] of row.entries()) await fields.nth(i).fill(String(value))
        await expect.poll(() => demo.tab.locator('#seen b').textContent()).toBe(best)
      }
      expect(demo.requests.filter((url) => !url.startsWith('file:'))).toEqual([])
      await demo.tab.close()

      // Code is shown, too.
      await page.tab.selectOption('#take-text', 'python')
      await expect.poll(() => code(page)).toMatch(/import onnxruntime as ort/)
      await page.tab.selectOption('#take-contender', 'base')
      await expect.poll(() => code(page)).toMatch(/'tuned.onnx'|"tuned.onnx"/)

      await page.open()
      await page.tab.setInputFiles('#project-file', page.file('project.zip', zip))
      await page.says(/^The tuned models are open/)
      expect(await page.text('#data-summary')).toBe(summary)
      expect(await page.tab.inputValue('#epochs')).toBe('30')
      expect(Buffer.compare(await page.downloadModel('ire'), unzipSync(zip)['tuned-ire.onnx']!)).toBe(0)
      await page.train({})
      await page.says(/^Done/)
      expect(await page.claimed('ire')).toEqual(claimed)
    },
    patience,
  )

  it(
    'a model of float16 > runs in its page',
    async () => {
      const page = browser()
      await openTable(page, halfTable())
      await page.train({ epochs: '30', batch: '8' })
      await page.says(/^Done/)
      const demo = await openDemo(page, 'half.html', await page.download('#take-demo'))
      const labels = await demo.tab.locator('#inputs label').allTextContents()
      for (const label of labels) expect(label).toMatch(/^[abc] \(-?0\.\d{1,8} to 0\.\d{1,8}\)$/)
      const fields = demo.tab.locator('#inputs input')
      for (const [i, value] of [0.9, 0.9, -0.9].entries()) await fields.nth(i).fill(String(value))
      await expect.poll(() => demo.tab.locator('#seen b').allTextContents()).toEqual(['above'])
      expect(await demo.tab.textContent('#say')).toBe('')
      await demo.tab.close()
    },
    patience,
  )

  it(
    'drawings > keep their classes and pixels in a project, and train in Node',
    async () => {
      const page = browser()
      await openSmall(page)
      await drawExamples(page, { 'a/b': 4, A_B: 4 })
      await page.train({ epochs: '4', batch: '4' })
      await page.says(/^Done/)
      const claimed = await page.claimed('base')
      const zip = await page.download('#take-project')
      const at = await unpack('drawn', zip)
      expect(await run('train', at('recipe-base.json'))).toMatchObject({ code: 0 })
      expect(Object.keys(unzipSync(zip)).filter((path) => path.startsWith('data/'))).toHaveLength(8)

      await page.open()
      // Earlier versions of the page wrote another name of the form's normalization.
      const { 'project.json': description, ...others } = unzipSync(zip)
      const earlier = strFromU8(description!).replace('"normalization"', '"normalisation"')
      const written = zipSync({ 'project.json': strToU8(earlier), ...others })
      await page.tab.setInputFiles('#project-file', page.file('drawn.zip', written))
      await page.says(/^The tuned models are open/)
      expect(await page.text('#data-summary')).toMatch(/8 examples of 2 classes: .*a\/b \(4\)/)
      await page.train({})
      await page.says(/^Done/)
      expect(await page.claimed('base')).toEqual(claimed)

      // The page sees in a drawing what the playground sees in it.
      const line = [[0.2, 0.5], [0.8, 0.5]] as const // biome-ignore format: a line
      await page.draw('#try-pad', line)
      await page.tab.waitForSelector('#seen-ire meter')
      const demo = await openDemo(page, 'drawn.html', await page.download('#take-demo'))
      await drawLine(demo.tab, '#draw canvas', line)
      const sharesIn = (tab: Page, meters: string) =>
        tab.locator(meters).evaluateAll((all) => all.map((each) => (each as HTMLMeterElement).value))
      // Both answer while the line is drawn, too.
      const difference = async () => {
        const there = await sharesIn(demo.tab, '#seen meter')
        const here = await sharesIn(page.tab, '#seen-ire meter')
        return Math.max(...here.map((share, i) => Math.abs(share - (there[i] ?? 1))))
      }
      await expect.poll(difference).toBeLessThan(0.005)
      // A photo, and the fake webcam of the tests.
      await demo.tab.check('input[value=photo]')
      await demo.tab.setInputFiles('#photo input', page.file('photo.png', await photo()))
      await demo.tab.waitForSelector('#photo img:not([hidden])')
      await demo.tab.check('input[value=camera]')
      await demo.tab.waitForFunction(() => document.querySelector('video')!.videoWidth > 0)
      expect(await demo.tab.textContent('#say')).toBe('')
      expect(demo.requests.filter((url) => !/^(file|blob):/.test(url))).toEqual([])
      await demo.tab.close()

      // The code for a page gives the answer that the code for Node gives.
      expect(await page.tab.inputValue('#take-text')).toBe('web')
      const picture = await photo(64, 64)
      const own = await execute(process.execPath, ['predict.mjs', page.file('picture.png', picture)], { cwd: at('') })
      const answerOf = (printed: string) => {
        const [, name, share] = /^(.+) ([\d.]+) %$/m.exec(printed) ?? []
        return { name, share: Number(share) }
      }
      const inNode = answerOf(own.stdout)
      const inPage = answerOf(await runInPage(page, await code(page), unzipSync(zip)['tuned-ire.onnx']!, picture))
      expect(inNode.name).toMatch(/^(a\/b|A_B)$/)
      expect(inPage.name).toBe(inNode.name)
      // They are rounded.
      expect(Math.abs(inPage.share - inNode.share)).toBeLessThanOrEqual(1)

      // The code does not widen the page. Charts follow its width a frame later.
      const width = () => page.tab.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      await expect.poll(width).toBeLessThanOrEqual(1)

      const card = sharp(await page.download('#take-card'))
      expect(await card.metadata()).toMatchObject({ width: 1200, height: 630, format: 'png' })
      const { channels } = await card.stats()
      expect(channels[0]!.stdev).toBeGreaterThan(5)
    },
    patience,
  )

  it(
    'link with settings > opens the page with them; values that are not allowed are left out',
    async () => {
      const page = browser()
      await page.context.grantPermissions(['clipboard-read', 'clipboard-write'])
      await openSmall(page)
      await page.set({ epochs: '17', lr: '0.05' })
      await page.tab.uncheck('#flatness')
      await page.tab.click('#copy-link')
      await page.says(/^The link is copied/)
      const link = new URL(await page.tab.evaluate(() => navigator.clipboard.readText()))
      await page.tab.goto('about:blank')
      await page.tab.goto(link.href)
      await page.says(/^The settings of the link are chosen/)
      expect(await page.tab.inputValue('#epochs')).toBe('17')
      expect(await page.tab.inputValue('#lr')).toBe('0.05')
      expect(await page.tab.isChecked('#flatness')).toBe(false)
      const usual = await page.tab.evaluate(() => (document.querySelector('#batch') as HTMLInputElement).defaultValue)
      link.hash = 'epochs=-4&batch=x&seed=5&nothing=1'
      await page.tab.goto('about:blank')
      await page.tab.goto(link.href)
      await page.says(/^The settings of the link are chosen/)
      expect(await page.tab.inputValue('#seed')).toBe('5')
      expect(await page.tab.inputValue('#batch')).toBe(usual)
      expect(Number(await page.tab.inputValue('#epochs'))).toBeGreaterThan(0)
    },
    patience,
  )

  it(
    'file that is no project > shows the reason',
    async () => {
      const page = browser()
      await page.open()
      const refused = async (name: string, content: Uint8Array | string) => {
        await page.tab.setInputFiles('#project-file', page.file(name, content))
        return page.says(/^The tuned models are open/).then(
          () => '',
          (error: Error) => error.message,
        )
      }
      const zipOf = (text: string) => zipSync({ 'project.json': strToU8(text) })
      expect(await refused('text.zip', 'Dear diary')).toMatch(/text.zip is not a project of this page: .*no ZIP file/)
      expect(await refused('other.zip', zipSync({ 'a.txt': strToU8('a') }))).toMatch(/it has no project.json/)
      expect(await refused('json.zip', zipOf('{'))).toMatch(/project.json is not JSON/)
      expect(await refused('format.zip', zipOf('{"format":"x"}'))).toMatch(/format must be/)
      expect(await refused('new.zip', zipOf('{"format":"onnx-ire-playground","version":2}'))).toMatch(/reads version 1/)
    },
    patience,
  )
})

/** A model of tables in float16. */
function halfTable(): Uint8Array {
  const random = new Random(1)
  const weight = (name: string, ...dims: number[]) => {
    const values = Array.from({ length: dims.reduce((a, b) => a * b) }, () => random.normal())
    return parameter(name, tensorFrom('float16', dims, values))
  }
  const x = input('x', 'float16', ['N', 3])
  const y = op.MatMul(op.Relu(op.MatMul(x, weight('w', 3, 8))), weight('v', 8, 2))
  return encodeModel(modelOf({ name: 'half', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) }))
}

/** Opens a demo as a file in a tab without a network, and returns its requests. */
async function openDemo(page: Playground, name: string, html: Uint8Array) {
  // onnxruntime's WebAssembly is most of it: 3.6 MB when compressed.
  expect(html.length).toBeLessThan(6e6)
  const path = page.file(name, html)
  const { tab } = await page.openTab()
  const session = await page.context.newCDPSession(tab)
  const offline = { offline: true, latency: 0, downloadThroughput: 0, uploadThroughput: 0 }
  await session.send('Network.emulateNetworkConditions', offline)
  const requests: string[] = []
  tab.on('request', (request) => requests.push(request.url()))
  await tab.goto(pathToFileURL(path).href)
  await tab.waitForSelector('body[data-ready]', { timeout: patience })
  expect(await findViolations(tab)).toEqual([])
  return { tab, requests }
}

/** A photo of noise. */
const photo = (width = 40, height = 30) => {
  const random = new Random(1)
  const pixels = Buffer.from(Array.from({ length: width * height * 3 }, () => random.integer(256)))
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer()
}

/** Runs code for a page, beside its model and onnxruntime; `file` is a picture. Returns the first line that it prints. */
async function runInPage(page: Playground, snippet: string, model: Uint8Array, picture: Uint8Array): Promise<string> {
  const ort = (name: string) => readFile(join(root, 'node_modules/onnxruntime-web/dist', name))
  for (const name of ['ort.wasm.bundle.min.mjs', 'ort-wasm-simd-threaded.wasm'])
    page.exchange.set(name, await ort(name))
  page.exchange.set('tuned-ire.onnx', model)
  page.exchange.set('picture.png', picture)
  const html = `<!doctype html>
<link rel="icon" href="data:,">
<script type="importmap">{ "imports": { "onnxruntime-web": "./ort.wasm.bundle.min.mjs" } }</script>
<script type="module">const file = await (await fetch('picture.png')).blob()
${snippet}</script>`
  page.exchange.set('snippet.html', Buffer.from(html))
  const { tab } = await page.openTab()
  const [printed] = await Promise.all([
    tab.waitForEvent('console', { predicate: (message) => message.type() === 'log' }),
    tab.goto(`${page.url}exchange/snippet.html`),
  ])
  await tab.close()
  return printed.text()
}
