import { expect, it } from 'vitest'
import { fromArrays, labelColumn } from '../../src/data/arrays.js'
import { imageColumn } from '../../src/data/image/image-column.js'
import { readUsage } from '../../src/data/model/model-usage.js'
import { input, parameter, tensorFrom } from '../../src/ir/leaf.js'
import { modelOf } from '../../src/onnx/export/export-graph.js'
import { decodeModel, encodeModel } from '../../src/onnx/model.js'
import { op } from '../../src/op/op.js'
import { Random } from '../../src/util/random.js'
import { describeWithChromium } from '../web/browser.js'
import { checkExport, drawExamples, openSmall, openTable, small, tableData, useDigits } from './examples.js'
import { openPlayground, patience } from './playground.js'

const labelsOf = (all: readonly Element[]) => all.map((each) => each.ariaLabel)

describeWithChromium('training in the playground', openPlayground, (browser) => {
  it(
    'bundled model, MNIST files, no network > fine-tunes, and the downloaded model has the accuracy shown',
    async () => {
      const page = browser()
      await page.open()
      await page.tab.waitForFunction(() => /without a network/.test(document.getElementById('offline')!.textContent))
      const loaded = page.requests.length
      await page.context.setOffline(true)
      await page.tab.click('#bundled')
      await page.says(/is open/)
      expect(await page.text('#model-facts')).toMatch(/EfficientNet-Lite0[\s\S]*769,970, of which 769,970/)
      await page.set({ provider: 'wasm', size: '32' })
      await page.says(/choose the data again/)
      const { pixels, labels: classes } = await useDigits(page, [0, 1, 2], 40)
      expect(await page.text('#data-summary')).toMatch(/^40 examples of 3 classes: .*\(\d+\)\.$/)
      expect(await page.tab.locator('#data-pictures > li').count()).toBe(3)
      await page.trainPaused({ 'trained-layers': 'all', epochs: '2', batch: '20', lr: '0.003' })
      expect(await page.text('#pause')).toBe('Go on')
      await page.draw('#try-pad', [[0.5, 0.2], [0.5, 0.8]]) // biome-ignore format: a line
      // Accuracies of both models while training is paused.
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
      for (const chart of ['loss', 'accuracy', 'sharpness'])
        await expect.poll(() => page.ink(`#${chart}-chart canvas`), { message: chart }).toBeGreaterThan(100)
      const [base, ire] = [await page.claimed('base'), await page.claimed('ire')]
      for (const { sharpness, loss } of [base, ire])
        for (const number of [sharpness, loss]) expect(number).toBeGreaterThan(0)
      expect(ire).not.toEqual(base)
      const data = fromArrays({
        image: imageColumn(pixels, { size: 32, channels: 3, fit: 'cover', mean: 0.5, std: 0.5 }),
        labels: labelColumn(classes),
      })
      await checkExport(page, 'base', data)
      await checkExport(page, 'ire', data)
      // The file contains what it was trained for, and the page reads it again.
      const tuned = await page.downloadModel('ire')
      await page.says(/contains the names of the classes and how to read pictures/)
      expect(readUsage(decodeModel(tuned))).toEqual({
        task: 'image-classification',
        classes: ['0', '1', '2'],
        image: { size: 32, channels: 3, layout: 'NCHW', fit: 'cover', mean: 0.5, std: 0.5 },
      })
      await page.openModel('tuned.onnx', tuned)
      await page.says(/^tuned.onnx is open, with the classes 0, 1, 2: /)
      expect(await page.tab.inputValue('#size')).toBe('32')
      expect(await page.tab.inputValue('#normalization')).toBe('signed')
      expect(await page.text('#model-facts')).toMatch(/task\s*image-classification\s*classes\s*0, 1, 2/)
      await page.tab.check('input[name=source][value=draw]')
      const cards = page.tab.locator('#cards .class-head input')
      expect(await cards.evaluateAll((all) => all.map((each) => (each as HTMLInputElement).value))).toEqual([
        '0',
        '1',
        '2',
      ])
      // It answers with these names before there are examples, and as it did where it was trained.
      await page.draw('#try-pad', [[0.5, 0.2], [0.5, 0.8]]) // biome-ignore format: a line
      await page.tab.waitForSelector('#seen-untrained meter')
      expect(await page.text('#seen-untrained h3')).toBe('The opened model')
      expect(await page.tab.locator('#seen-untrained meter').evaluateAll(labelsOf)).toEqual(['0', '1', '2'])
      await page.context.setOffline(false)
      // Everything was loaded before, and no other server received a request.
      expect(loaded).toBeGreaterThan(5)
      for (const address of page.requests) expect(address).toMatch(new RegExp(`^(${page.url}|blob:|data:)`))
    },
    patience,
  )

  it(
    'last layer > trains on features that are stored once for both models, and the other layers stay',
    async () => {
      const page = browser()
      await openSmall(page)
      const { pixels, labels: classes } = await useDigits(page, [0, 1], 60)
      await page.train({ 'trained-layers': 'head', epochs: '3', batch: '10', lr: '0.05' })
      await page.says(/^Done/)
      const pass = /^Computing the features of the examples, once for both models: (\d+) of 45/
      const passed = (await page.said()).flatMap((text) => pass.exec(text)?.[1] ?? [])
      expect(passed).toEqual(['10', '20', '30', '40', '45'])
      const tensors = (file: Uint8Array) => {
        const { initializer } = decodeModel(file).proto.graph!
        return new Map(initializer.map(({ name = '', rawData }) => [name, Buffer.from(rawData!).toString('hex')]))
      }
      const [before, after] = [tensors(small), tensors(await page.downloadModel('ire'))]
      const kept = [...before].filter(([name, bytes]) => after.get(name) === bytes)
      // The classifier has two classes now; all other tensors are those of the file.
      expect(kept.length).toBe(before.size - 2)
      const data = fromArrays({
        x: imageColumn(pixels, { size: 64, channels: 1, fit: 'cover' }),
        labels: labelColumn(classes),
      })
      await checkExport(page, 'base', data)
      await checkExport(page, 'ire', data)
    },
    patience,
  )

  it(
    'table > trains, pauses, resumes and stops',
    async () => {
      const page = browser()
      await openTable(page)
      expect(await page.text('#data-summary')).toMatch(/^80 examples of 2 classes: above /)
      // The classes have names, and those of the file are unknown: the last layer is a new one.
      expect(await page.tab.inputValue('#head')).toBe('new')
      await page.train({ epochs: '3', batch: '10' })
      await page.says(/^Done/)
      await checkExport(page, 'base', tableData())
      await checkExport(page, 'ire', tableData())

      await page.train({ epochs: '1000', batch: '1' })
      await page.says(/^Training/)
      expect(await page.tab.isDisabled('#train')).toBe(true)
      expect(await page.tab.evaluate('document.querySelector("#model-section").inert')).toBe(true)
      // Progress, time left and Stop stay in sight.
      await expect.poll(() => page.text('#progress-text')).toMatch(/^Step \d+ of \d+, .* left$/)
      const rolled = await page.tab.evaluate(() => {
        scrollTo(0, document.body.scrollHeight)
        const places = ['progress', 'progress-text', 'stop'].map((id) =>
          document.getElementById(id)!.getBoundingClientRect(),
        )
        return { by: scrollY, places: places.map(({ top, bottom }) => top >= 0 && bottom <= innerHeight) }
      })
      expect(rolled).toEqual({ by: expect.any(Number), places: [true, true, true] })
      expect(rolled.by).toBeGreaterThan(100)
      await page.tab.click('#pause')
      await page.tab.click('#pause')
      expect(await page.text('#pause')).toBe('Pause')
      const before = await page.text('#progress-text')
      await page.tab.waitForFunction((text) => document.getElementById('progress-text')!.textContent !== text, before)
      await page.tab.click('#pause')
      await page.tab.click('#stop')
      await page.says(/^Stopped/)
      expect(await page.tab.isDisabled('#stop')).toBe(true)
      expect(decodeModel(await page.downloadModel('ire')).proto.graph!.node.length).toBeGreaterThan(0)
      // Stopped before it has begun.
      await page.tab.click('#train')
      await page.tab.click('#stop')
      await page.says(/^Stopped/)
    },
    patience,
  )

  it(
    'a double click on Train > one run, which can be stopped',
    async () => {
      const page = browser()
      await openSmall(page)
      await drawExamples(page, { circle: 3, star: 3 })
      await page.set({ provider: 'wasm', epochs: '1000', batch: '1' })
      await page.tab.dblclick('#train')
      await page.says(/^Training/)
      await page.stepped()
      expect((await page.said()).filter((text) => /in progress/.test(text))).toEqual([])
      await page.tab.click('#stop')
      await page.says(/^Stopped/)
    },
    patience,
  )

  it(
    'half-precision models > train, and can be inspected',
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
      await useDigits(page, [0, 1], 40)
      await page.train({ epochs: '2', batch: '10' })
      await page.says(/^Done/)
      await page.draw('#try-pad', [[0.5, 0.2], [0.5, 0.8]]) // biome-ignore format: a line
      await page.tab.waitForSelector('#seen-ire meter')
      expect((await page.claimed('base')).accuracy).toBeGreaterThan(0.5)
      expect(decodeModel(await page.downloadModel('base')).proto.graph!.initializer[0]!.dataType).toBe(10)
    },
    patience,
  )
})
