import { expect, it } from 'vitest'
import { decodeModel } from '../../src/onnx/model.js'
import { describeWithChromium } from '../web/browser.js'
import { checkExport, openTable, tableData } from './examples.js'
import { openPlayground, patience } from './playground.js'

describeWithChromium('playground on the GPU', openPlayground, (browser) => {
  it(
    'WebGPU > a device lost during training > training continues',
    async () => {
      const page = browser()
      await openTable(page)
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
      await page.trainPaused({ provider: 'webgpu', epochs: '2', batch: '30' })
      expect(await page.text('#runtime')).toMatch(/^onnxruntime-web .*, webgpu/)
      await worker.evaluate(() => (globalThis as unknown as { devices: GPUDevice[] }).devices.at(-1)!.destroy())
      await page.tab.click('#pause')
      await page.says(/^The GPU was lost; AdamW \+ IRE continues from step \d+ on a new device/)
      await page.says(/^Done/)
      expect(await worker.evaluate(() => (globalThis as unknown as { devices: GPUDevice[] }).devices.length)).toBe(2)
      await checkExport(page, 'base', tableData())
      await checkExport(page, 'ire', tableData())
    },
    patience,
  )

  it(
    'WebGPU > a device lost permanently > shows the loss, and offers the trained model',
    async () => {
      const page = browser()
      await openTable(page)
      await page.tab.workers()[0]!.evaluate(() => {
        const { requestDevice } = GPUAdapter.prototype
        const { gpu } = navigator
        GPUAdapter.prototype.requestDevice = async function (descriptor) {
          const device = await requestDevice.call(this, descriptor)
          Object.assign(globalThis, {
            lose: () => {
              gpu.requestAdapter = async () => null
              device.destroy()
            },
          })
          return device
        }
      })
      await page.train({ provider: 'webgpu', epochs: '50', batch: '30' })
      await page.says(/^Training/)
      await page.tab.workers()[0]!.evaluate('lose()')
      await expect(page.says(/^Done/)).rejects.toThrow(/The GPU was lost, and no new one could be had/)
      expect(decodeModel(await page.downloadModel('base')).proto.graph!.node.length).toBeGreaterThan(0)
      await page.says(/among your downloads/)
    },
    patience,
  )

  it(
    'automatic choice > times a step on each runtime, once per model and device, and shows why',
    async () => {
      const page = browser()
      await openTable(page)
      const worker = page.tab.workers()[0]!
      const long = { epochs: '1000', batch: '1' }
      const train = async (settings: Readonly<Record<string, string>>) => {
        await page.train({ provider: 'auto', ...settings })
        await page.says(/^Training|^Done/)
        const chosen = await page.text('#runtime')
        if (settings['epochs'] === long.epochs) await page.tab.click('#stop')
        await page.says(/^Stopped|^Done/)
        return chosen
      }
      expect(await train(long)).toMatch(/^Runs on WebAssembly: the processor emulates the graphics card here\. \(/)

      // The software GPU of the tests passes for a graphics card.
      await worker.evaluate(() => {
        const devices: GPUDevice[] = []
        const { requestDevice } = GPUAdapter.prototype
        Object.defineProperty(GPUAdapterInfo.prototype, 'architecture', { get: () => 'a card' })
        Object.defineProperty(GPUAdapterInfo.prototype, 'isFallbackAdapter', { get: () => false })
        GPUAdapter.prototype.requestDevice = async function (descriptor) {
          const device = await requestDevice.call(this, descriptor)
          devices.push(device)
          return device
        }
        Object.assign(globalThis, { devices })
      })
      const devices = () => worker.evaluate(() => (globalThis as unknown as { devices: unknown[] }).devices.length)
      const short = { epochs: '1', batch: '1' }
      expect(await train(short)).toMatch(/^Runs on WebAssembly: by the time of a step, .* \d s, and a graphics card /)
      expect(await devices()).toBe(0)
      const timed = await train(long)
      expect(timed).toMatch(/^Runs on WebAssembly: by the time of a step, .* \d+ (s|min), and \d+ min on WebGPU\. \(/)
      expect(await devices()).toBe(1)
      expect(await train(long)).toBe(timed)
      expect(await devices()).toBe(1)
      // On another machine the GPU is faster.
      await worker.evaluate(async () => {
        const file = await (await navigator.storage.getDirectory()).getFileHandle('playground-timings.json')
        const timings = JSON.parse(await (await file.getFile()).text())
        for (const each of Object.values<{ webgpu: object }>(timings)) each.webgpu = { step: 0.001, batch: 0 }
        const stream = await file.createWritable()
        await stream.write(JSON.stringify(timings))
        await stream.close()
      })
      expect(await train(long)).toMatch(
        /^Runs on WebGPU: by the time of a step, .* on WebAssembly\. \(onnxruntime-web /,
      )
      expect(await devices()).toBe(2)
      // Training of the last layer alone is timed, too.
      expect(await train({ ...short, 'trained-layers': 'head' })).toMatch(/^Runs on WebAssembly: by the time of a step/)
      expect(await devices()).toBe(2)
    },
    patience,
  )

  it(
    'no WebGPU > shows a notice, and trains in WebAssembly',
    async () => {
      const page = browser()
      // The browser has it, but offers no device.
      await openTable(page)
      await page.tab.workers()[0]!.evaluate(() => {
        navigator.gpu.requestAdapter = async () => null
      })
      expect(await page.tab.isVisible('#no-webgpu')).toBe(false)
      await page.train({ provider: 'webgpu', epochs: '1' })
      await page.says(/^Done/)
      expect(await page.text('#runtime')).toMatch(/^WebGPU cannot start here: .*wasm.*no adapter/)
      // The browser has none.
      await page.tab.addInitScript(() => Reflect.deleteProperty(Navigator.prototype, 'gpu'))
      await openTable(page)
      expect(await page.text('#no-webgpu')).toMatch(/no WebGPU/)
      expect(await page.tab.inputValue('#provider')).toBe('wasm')
      await page.set({ epochs: '1' })
      await page.tab.click('#train')
      await page.says(/^Done/)
      expect(await page.text('#runtime')).toMatch(/wasm/)
    },
    patience,
  )
})
