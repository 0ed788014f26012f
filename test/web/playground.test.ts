import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { expect, it } from 'vitest'
import { convnet } from '../../models/convnet.js'
import { mlp } from '../../models/mlp.js'
import { arrays, labels } from '../../src/data/arrays.js'
import { type Dataset, split } from '../../src/data/dataset.js'
import { images } from '../../src/data/image.js'
import { input, parameter, tensorFrom } from '../../src/ir/leaf.js'
import { crossEntropy } from '../../src/loss/cross-entropy.js'
import { accuracy } from '../../src/metric/accuracy.js'
import { node } from '../../src/node/runtime.js'
import { modelOf } from '../../src/onnx/export.js'
import { decodeModel, encodeModel } from '../../src/onnx/model.js'
import { op } from '../../src/op/index.js'
import { Random } from '../../src/random.js'
import { evaluateModel } from '../../src/train/evaluate.js'
import { describeWithChromium } from './browser.js'
import { openPlayground, type Playground, patience } from './playground.js'
import { digits, idxOf } from './pretrained.js'

const small = encodeModel(modelOf(convnet({ channels: 1, stages: [4, 8], classes: 3, seed: 1 })))
const table = encodeModel(modelOf(mlp({ features: 3, hidden: [8], classes: 2, seed: 1 })))
const held = 0.25

/** Rows of three numbers, told apart by a plane. */
const rows = Array.from({ length: 80 }, (_, i) => {
  const [a, b, c] = [0, 1, 2].map((k) => Math.sin(7 * i + 3 * k)) as [number, number, number]
  return { numbers: [a, b, c], name: a + b > c / 2 ? 'above' : 'below' }
})
const csv = ['a,b,c,side', ...rows.map(({ numbers, name }) => `${numbers.join()},${name}`)].join('\n')

/** What plain onnxruntime on Node makes of an exported file, on the examples that were held out. */
async function measured(model: Uint8Array, data: Dataset) {
  const runtime = node({ worker: false, threads: 1 })
  const { validation } = split(data, { validation: held, seed: 0 })
  const measures = await evaluateModel(decodeModel(model), validation, {
    loss: crossEntropy(),
    metrics: [accuracy()],
    runtime,
  })
  await runtime.dispose()
  return measures
}

/** What the page says of a contender after its last epoch. */
async function claimed(page: Playground, contender: 'base' | 'ire') {
  const cells = await page.tab.locator(`#result-${contender} td`).allInnerTexts()
  const [loss, heldLoss, share, rise] = cells.map((cell) => Number.parseFloat(cell))
  return { loss: loss!, heldLoss: heldLoss!, accuracy: share! / 100, sharpness: rise! }
}

/** Two decimals of a share in percent are lost on the page, and four of a loss. */
async function checkExport(page: Playground, contender: 'base' | 'ire', data: Dataset): Promise<void> {
  const said = await claimed(page, contender)
  const found = await measured(await page.download(`#download-${contender}`), data)
  expect(Math.abs((found['accuracy'] as number) - said.accuracy)).toBeLessThanOrEqual(0.0005 + 1e-9)
  expect(Math.abs(found.loss - said.heldLoss)).toBeLessThan(2e-4)
}

/** Where a picture of the page after a longer training is wanted, as in `PLAYGROUND_PICTURE=docs/playground.png`. */
const picture = process.env['PLAYGROUND_PICTURE']

describeWithChromium('the playground in Chromium', openPlayground, (browser) => {
  const train = async (settings: Readonly<Record<string, string>>) => {
    await browser().set({ provider: 'wasm', held: String(held), ...settings })
    await browser().tab.click('#train')
  }
  const openTable = async () => {
    await browser().open()
    await browser().openModel('table.onnx', table)
    await browser().says(/^table.onnx is open/)
    await browser().tab.setInputFiles('#csv', browser().file('rows.csv', csv))
    await browser().says(/Choose the column/)
    expect(await browser().tab.inputValue('#csv-label')).toBe('side')
    await browser().tab.click('#use-csv')
    await browser().says(/^Ready/)
  }
  const tableData = () =>
    arrays({
      x: { dims: [rows.length, 3], data: Float32Array.from(rows.flatMap(({ numbers }) => numbers)) },
      labels: labels(rows.map(({ name }) => (name === 'above' ? 0 : 1))),
    })

  it(
    'fine-tunes the bundled model on MNIST files without a network, and the download is as good as it says',
    async () => {
      const page = browser()
      await page.open()
      await page.tab.waitForFunction(() => /without a network/.test(document.getElementById('offline')!.textContent))
      const loaded = page.requests.length
      await page.context.setOffline(true)
      await page.tab.click('#bundled')
      await page.says(/is open/)
      expect(await page.text('#model-facts')).toMatch(/softmax_0.tmp_0[\s\S]*129,356, of which 129,356/)
      const { pixels, labels: classes } = digits([0, 1, 2], 80)
      await page.tab.check('input[value=idx]')
      await page.tab.setInputFiles('#idx-images', page.file('images-idx3-ubyte', idxOf(pixels)))
      await page.tab.setInputFiles('#idx-labels', page.file('labels-idx1-ubyte', idxOf(classes)))
      await page.set({ size: '32' })
      await page.says(/choose the data again/)
      await page.tab.click('#use-idx')
      await page.says(/^Ready/)
      expect(await page.text('#data-summary')).toMatch(/^80 examples of 3 classes: .* by one of 3 classes\.$/)
      await train({ epochs: '2', batch: '20' })
      await page.says(/^Training/)

      await page.tab.click('#pause')
      expect(await page.text('#pause')).toBe('Go on')
      await page.draw('#try-pad', [[0.5, 0.2], [0.5, 0.8]]) // biome-ignore format: a line
      // Shares of both models, while they stand still.
      await page.tab.waitForSelector('#seen-ire meter')
      const shares = await page.tab
        .locator('#seen-base meter')
        .evaluateAll((all) => all.map((each) => (each as HTMLMeterElement).value))
      expect(shares.length).toBe(3)
      expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 4)
      const still = await page.text('#progress-text')
      await page.tab.waitForTimeout(500)
      expect(await page.text('#progress-text')).toBe(still)
      await page.tab.click('#pause')
      await page.says(/^Done/)

      expect(await page.text('#runtime')).toMatch(/wasm, \d+ threads?$/)
      expect(await page.tab.evaluate('document.querySelector("#progress").value')).toBe(1)
      await page.tab.waitForTimeout(500)
      for (const chart of ['loss', 'accuracy', 'sharpness'])
        expect(await page.ink(`#${chart}-chart canvas`), chart).toBeGreaterThan(100)
      const [base, ire] = [await claimed(page, 'base'), await claimed(page, 'ire')]
      for (const { sharpness, loss } of [base, ire])
        for (const number of [sharpness, loss]) expect(number).toBeGreaterThan(0)
      expect(ire).not.toEqual(base)
      const data = arrays({
        x: images(pixels, { size: 32, channels: 3, fit: 'cover', mean: 0.5, std: 0.5 }),
        labels: labels(classes),
      })
      await checkExport(page, 'base', data)
      await checkExport(page, 'ire', data)
      await page.context.setOffline(false)
      // All was there already, and nothing was asked of anybody else.
      expect(loaded).toBeGreaterThan(5)
      for (const address of page.requests) expect(address).toMatch(new RegExp(`^(${page.url}|blob:|data:)`))
    },
    patience,
  )

  it(
    'learns from a table, pauses, goes on and stops',
    async () => {
      const page = browser()
      await openTable()
      expect(await page.tab.isVisible('#trying')).toBe(false)
      expect(await page.text('#data-summary')).toMatch(/^80 examples of 2 classes: above .* The last layer stays/)
      await train({ epochs: '3', batch: '10' })
      await page.says(/^Done/)
      await checkExport(page, 'base', tableData())
      await checkExport(page, 'ire', tableData())

      await train({ epochs: '1000', batch: '1' })
      await page.says(/^Training/)
      expect(await page.tab.isDisabled('#train')).toBe(true)
      expect(await page.tab.evaluate('document.querySelector("#model-section").inert')).toBe(true)
      await page.tab.click('#pause')
      await page.tab.click('#pause')
      expect(await page.text('#pause')).toBe('Pause')
      const before = await page.text('#progress-text')
      await page.tab.waitForFunction((text) => document.getElementById('progress-text')!.textContent !== text, before)
      await page.tab.click('#pause')
      await page.tab.click('#stop')
      await page.says(/^Stopped/)
      expect(await page.tab.isDisabled('#stop')).toBe(true)
      expect(decodeModel(await page.download('#download-ire')).proto.graph!.node.length).toBeGreaterThan(0)
      // Stopped before it has begun.
      await page.tab.click('#train')
      await page.tab.click('#stop')
      await page.says(/^Stopped/)
    },
    patience,
  )

  it(
    'learns from a folder of images for each class',
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
      await train({ epochs: '1', batch: '9' })
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
    'learns from what is drawn by mouse and by keyboard',
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
        // On to the field and the button behind.
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
      await train({ epochs: '1', batch: '4' })
      await page.says(/^Done/)
      expect((await claimed(page, 'ire')).loss).toBeGreaterThan(0)
    },
    patience,
  )

  it(
    'takes examples from the webcam, which goes off when another source is chosen',
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

  it(
    'trains models in half precision, and looks through them',
    async () => {
      const page = browser()
      const random = new Random(1)
      const half = (name: string, dims: readonly number[]) =>
        parameter(
          name,
          tensorFrom(
            'float16',
            dims,
            random.fill(new Float64Array(dims.reduce((a, b) => a * b)), 'normal').map((z) => z / 8),
          ),
        )
      const x = input('x', 'float16', ['N', 1, 8, 8])
      const [w1, w2] = [half('w1', [64, 6]), half('w2', [6, 2])]
      const graph = {
        name: 'half',
        inputs: new Map([['x', x]]),
        parameters: new Map([['w1', w1], ['w2', w2]]), // biome-ignore format: a pair
        outputs: new Map([['y', op.MatMul(op.Relu(op.MatMul(op.Flatten(x), w1)), w2)]]),
      }
      await page.open()
      await page.openModel('half.onnx', encodeModel(modelOf(graph)))
      await page.says(/^half.onnx is open/)
      const { pixels, labels: classes } = digits([0, 1], 40)
      await page.tab.check('input[value=idx]')
      await page.tab.setInputFiles('#idx-images', page.file('half-images', idxOf(pixels)))
      await page.tab.setInputFiles('#idx-labels', page.file('half-labels', idxOf(classes)))
      await page.tab.click('#use-idx')
      await page.says(/^Ready/)
      await train({ epochs: '2', batch: '10' })
      await page.says(/^Done/)
      await page.draw('#try-pad', [[0.5, 0.2], [0.5, 0.8]]) // biome-ignore format: a line
      await page.tab.waitForSelector('#seen-ire meter')
      expect((await claimed(page, 'base')).accuracy).toBeGreaterThan(0.5)
      expect(decodeModel(await page.download('#download-base')).proto.graph!.initializer[0]!.dataType).toBe(10)
    },
    patience,
  )

  it(
    'says what is wrong with a file, and goes on with another',
    async () => {
      const page = browser()
      await page.open()
      const refused = async (name: string, content: Uint8Array | string) => {
        await page.openModel(name, content)
        return page.says(/ is open/).then(
          () => '',
          (error: Error) => error.message,
        )
      }
      expect(await refused('notes.onnx', 'Dear diary, this is no model.')).toMatch(/notes.onnx: /)
      expect(await refused('cut.onnx', small.subarray(0, small.length / 2))).toMatch(/cut.onnx: /)
      const shape = { name: 'x', dtype: 'float32', dims: ['N', 2, 5, 7] } as const
      const odd = { name: 'odd', inputs: new Map([['x', input('x', shape.dtype, shape.dims)]]) }
      const model = modelOf({ ...odd, outputs: new Map([['y', op.Relu(odd.inputs.get('x')!)]]) })
      expect(await refused('odd.onnx', encodeModel(model))).toMatch(/square pictures/)
      await openTable()
      await page.tab.setInputFiles('#csv', page.file('empty.csv', ''))
      await expect(page.says(/Choose the column/)).rejects.toThrow(/empty.csv is empty/)
      await page.tab.fill('#epochs', '0')
      await page.tab.click('#train')
      await expect(page.says(/^Done/)).rejects.toThrow(/^the page says: Epochs: /)
      await page.tab.fill('#lr', '1')
      await train({ epochs: '1', batch: '40' })
      await page.says(/^Done/)
    },
    patience,
  )

  it(
    'trains on WebGPU, past the loss of a device',
    async () => {
      const page = browser()
      await openTable()
      const worker = page.tab.workers()[0]!
      await worker.evaluate(() => {
        const { requestDevice } = GPUAdapter.prototype
        const devices: GPUDevice[] = []
        GPUAdapter.prototype.requestDevice = async function (descriptor) {
          const device = await requestDevice.call(this, descriptor)
          devices.push(device)
          return device
        }
        Object.assign(globalThis, { devices })
      })
      await train({ provider: 'webgpu', epochs: '2', batch: '30' })
      await page.says(/^Training/)
      expect(await page.text('#runtime')).toMatch(/^onnxruntime-web .*, webgpu/)
      await worker.evaluate(() => (globalThis as unknown as { devices: GPUDevice[] }).devices.at(-1)!.destroy())
      await page.says(/^The GPU was lost; AdamW \+ IRE goes on from step \d+ on a new device/)
      await page.says(/^Done/)
      expect(await worker.evaluate(() => (globalThis as unknown as { devices: GPUDevice[] }).devices.length)).toBe(3)
      await checkExport(page, 'base', tableData())
      await checkExport(page, 'ire', tableData())
    },
    patience,
  )

  it(
    'says that there is no WebGPU, and trains without',
    async () => {
      const page = browser()
      // The browser has it, but offers no device.
      await openTable()
      await page.tab.workers()[0]!.evaluate(() => {
        navigator.gpu.requestAdapter = async () => null
      })
      expect(await page.tab.isVisible('#no-webgpu')).toBe(false)
      await train({ provider: 'webgpu', epochs: '1' })
      await page.says(/^Done/)
      expect(await page.text('#runtime')).toMatch(/^WebGPU is not to be had here: .*wasm.*no adapter/)
      // The browser has none.
      await page.tab.addInitScript(() => Reflect.deleteProperty(Navigator.prototype, 'gpu'))
      await openTable()
      expect(await page.text('#no-webgpu')).toMatch(/no WebGPU/)
      expect(await page.tab.inputValue('#provider')).toBe('wasm')
      await page.set({ epochs: '1' })
      await page.tab.click('#train')
      await page.says(/^Done/)
      expect(await page.text('#runtime')).toMatch(/wasm/)
    },
    patience,
  )

  it(
    'is used by keyboard alone, and fits a phone',
    async () => {
      const page = browser()
      await openTable()
      const reached: string[] = []
      await page.tab.evaluate(() => (document.activeElement as HTMLElement | null)?.blur())
      let rounds = 0
      for (let i = 0; i < 120; i++) {
        await page.tab.keyboard.press('Tab')
        const { id, outline } = await page.tab.evaluate(() => {
          const element = document.activeElement as HTMLElement
          const { outlineStyle, outlineWidth } = getComputedStyle(element)
          return {
            id: element.id || element.getAttribute('name') || element.tagName,
            outline: `${outlineStyle} ${outlineWidth}`,
          }
        })
        // Beyond the last control it goes out of the page and in again: nothing holds it.
        if (id === 'BODY' && ++rounds === 2) break
        if (id === 'BODY') continue
        expect(outline, id).toMatch(/^(solid 3px|auto .*)$/)
        reached.push(id)
      }
      // Disabled ones come when there is something to do.
      const usable = await page.tab.evaluate(() =>
        [
          ...document.querySelectorAll<HTMLElement>(
            'button, select, input:not([type=radio]), canvas[tabindex], summary',
          ),
        ]
          .filter((element) => element.checkVisibility() && !element.matches(':disabled'))
          .map((element) => element.id || element.tagName),
      )
      expect(rounds).toBe(2)
      expect(usable.length).toBeGreaterThan(15)
      expect(usable.filter((id) => !reached.includes(id))).toEqual([])
      expect(reached).toContain('source')

      await page.tab.setViewportSize({ width: 360, height: 740 })
      for (const source of ['folder', 'csv', 'idx', 'draw', 'camera']) {
        await page.tab.check(`input[value=${source}]`)
        expect(await page.tab.evaluate('document.documentElement.scrollWidth'), source).toBeLessThanOrEqual(360)
      }
      await page.tab.setViewportSize({ width: 1100, height: 900 })
    },
    patience,
  )

  it.runIf(picture)(
    'has its picture taken',
    async () => {
      const page = browser()
      await page.open()
      await page.tab.click('#bundled')
      await page.says(/is open/)
      const { pixels, labels: classes } = digits([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 400)
      await page.tab.check('input[value=idx]')
      await page.tab.setInputFiles('#idx-images', page.file('train-images-idx3-ubyte', idxOf(pixels)))
      await page.tab.setInputFiles('#idx-labels', page.file('train-labels-idx1-ubyte', idxOf(classes)))
      await page.tab.click('#use-idx')
      await page.says(/^Ready/)
      await page.set({ provider: 'wasm', epochs: process.env['PLAYGROUND_EPOCHS'] ?? '6' })
      await page.tab.click('#train')
      await page.says(/^Done/)
      await page.draw('#try-pad', [[0.3, 0.3], [0.5, 0.2], [0.68, 0.3], [0.6, 0.5], [0.3, 0.8], [0.72, 0.8]]) // biome-ignore format: a line
      await page.tab.waitForSelector('#seen-ire meter')
      await page.tab.evaluate(() => scrollTo(0, 0))
      await page.tab.screenshot({ path: picture!, fullPage: true })
    },
    600_000,
  )
})
