import { describe } from 'vitest'
import { everyDevice } from '../runtime/every-device.js'
import { everyRuntime } from '../runtime/every-runtime.js'
import { without } from '../runtime/samples.js'
import { describeInBrowser } from './browser.js'
import { remoteRuntime } from './remote-runtime.js'

const release = 'onnxruntime-web \\d+\\.\\d+\\.\\d+'

describeInBrowser('runtimes in Chromium', (browser) => {
  describe('wasm() in a worker', () => {
    everyRuntime({
      start: () => remoteRuntime(browser(), browser().worker, 'startWasm'),
      description: new RegExp(`^${release}, wasm, \\d+ threads?$`),
      carries: without('bfloat16'),
      local: false,
    })
  })

  describe('webgpu() in a worker', () => {
    const start = () => remoteRuntime(browser(), browser().worker, 'startWebGpu')
    everyRuntime({
      start,
      description: new RegExp(`^${release}, webgpu on `),
      carries: without('bfloat16', 'float64'),
      local: false,
      patience: 120_000,
    })
    everyDevice({
      start,
      keeps: ['float32', 'float16', 'int32', 'int64', 'uint32', 'uint8', 'bool'],
      isShared: true,
      patience: 120_000,
    })
  })
})
