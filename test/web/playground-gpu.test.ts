import { expect, it } from 'vitest'
import { decodeModel } from '../../src/onnx/model.js'
import { describeWithChromium } from './browser.js'
import { openPlayground, patience } from './playground.js'
import { checkExport, openTable, tableData } from './playground-examples.js'

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
      await page.train({ provider: 'webgpu', epochs: '2', batch: '30' })
      await page.says(/^Training/)
      expect(await page.text('#runtime')).toMatch(/^onnxruntime-web .*, webgpu/)
      await worker.evaluate(() => (globalThis as unknown as { devices: GPUDevice[] }).devices.at(-1)!.destroy())
      await page.says(/^The GPU was lost; AdamW \+ IRE continues from step \d+ on a new device/)
      await page.says(/^Done/)
      expect(await worker.evaluate(() => (globalThis as unknown as { devices: GPUDevice[] }).devices.length)).toBe(3)
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
      expect(decodeModel(await page.download('#download-base')).proto.graph!.node.length).toBeGreaterThan(0)
      await page.says(/among your downloads/)
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
      expect(await page.text('#runtime')).toMatch(/^WebGPU is not to be had here: .*wasm.*no adapter/)
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
