import { describe } from 'vitest'
import { type CApiOptions, cApi } from '../../src/node/c-api/runtime.js'
import { node } from '../../src/node/runtime.js'
import { everyDevice } from '../runtime/every-device.js'
import { everyRuntime } from '../runtime/every-runtime.js'
import { without } from '../runtime/samples.js'
import { whyNoCuda } from './cuda.js'
import { skipLoudly, webgpu, whyNoWebgpu } from './webgpu.js'

const noGpu = skipLoudly('what every runtime does, on node({ provider: webgpu })', await whyNoWebgpu())
const absent = whyNoCuda()
if (absent !== undefined)
  console.warn(`\nNOT TESTED, for CUDA does not start here: what every runtime does, on CUDA\n  ${absent}\n`)

const release = 'onnxruntime-node \\d+\\.\\d+\\.\\d+'

describe.each([
  ['worker', true],
  ['in process', false],
])('node() %s', (place, worker) => {
  everyRuntime({
    start: () => node({ worker, threads: 1 }),
    description: new RegExp(`^${release}, cpu, 1 thread, ${place}$`),
    carries: without('bfloat16'),
    local: true,
  })
})

describe.skipIf(noGpu).each([
  ['worker', true],
  ['in process', false],
])('node({ provider: webgpu }) %s', (place, worker) => {
  const start = () => webgpu({}, { worker })
  everyRuntime({
    start,
    description: new RegExp(`^${release}, webgpu, \\d+ threads?, ${place}$`),
    carries: without('bfloat16'),
    local: true,
    patience: 120_000,
  })
  everyDevice({ start, keeps: ['float32', 'float16', 'int32', 'int64', 'uint32', 'uint8', 'bool'], patience: 120_000 })
})

describe.each<[string, string | undefined, CApiOptions, RegExp]>([
  ['thread pool', undefined, { threads: 1, resident: true, blocking: false }, /cpu, 1 thread, thread pool$/],
  ['blocking', undefined, { threads: 1, resident: true, blocking: true }, /cpu, 1 thread, blocking$/],
  ['on CUDA', absent, { provider: 'cuda' }, /, cuda 0, /],
])('cApi() %s', (_, why, options, description) => {
  describe.skipIf(why !== undefined)('', () => {
    const start = () => cApi(options)
    everyRuntime({ start, description, carries: without(), local: true })
    everyDevice({ start, keeps: without('string') })
  })
})
