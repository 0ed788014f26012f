import { describe } from 'vitest'
import { type CApiOptions, cApi } from '../../src/node/c-api/runtime.js'
import { node } from '../../src/node/runtime/node.js'
import { type Needs, needs } from '../requirements.js'
import { everyDevice } from '../runtime/every-device.js'
import { everyRuntime } from '../runtime/every-runtime.js'
import { without } from '../runtime/samples.js'
import { webgpu } from './webgpu.js'

const gpuNeeded = await needs('webgpu')
const cudaNeeded = await needs('cuda')

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

describe.each([
  ['worker', true],
  ['in process', false],
])('node({ provider: webgpu }) %s', gpuNeeded, (place, worker) => {
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

describe.each<[string, Partial<Needs>, CApiOptions, RegExp]>([
  ['thread pool', {}, { threads: 1, resident: true, blocking: false }, /cpu, 1 thread, thread pool$/],
  ['blocking', {}, { threads: 1, resident: true, blocking: true }, /cpu, 1 thread, blocking$/],
  ['on CUDA', cudaNeeded, { provider: 'cuda' }, /, cuda 0, /],
])('cApi() %s', (_, needed, options, description) => {
  describe('in this process', needed, () => {
    const start = () => cApi(options)
    everyRuntime({ start, description, carries: without(), local: true })
    everyDevice({ start, keeps: without('string') })
  })
})
