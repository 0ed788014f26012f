import { Worker } from 'node:worker_threads'
import type { Reproducers } from '../issue.js'
import { noise, of, op, probe } from '../model.js'
import { nodePath, startWebgpu, toFeeds, webgpuOptions } from '../node.js'

const onDevice = { ...webgpuOptions, preferredOutputLocation: { y0: 'gpu-buffer' as const } }
const twice = () => probe([of('float32', [2], 1, 2)], (x) => op.Add(x!, x!))

const code = `
  const { parentPort, workerData: { path, bytes, data, dims, options, runs } } = require('node:worker_threads')
  const ort = require(path)
  ort.InferenceSession.create(bytes, options).then((session) => {
    parentPort.postMessage('ready')
    parentPort.once('message', async () => {
      for (let i = 0; i < runs; i++) await session.run({ x0: new ort.Tensor('float32', data, dims) })
      parentPort.postMessage('done')
    })
  })`

export const processIssues: Reproducers = {
  'webgpu-two-threads-crash': {
    symptom: 'crash',
    limit: 120,
    run: async ({ arm }) => {
      await startWebgpu()
      const { bytes, feeds } = probe([noise('float32', [64, 64])], (x) => op.Sin(op.MatMul(x!, x!)))
      const { data, dims } = feeds['x0']!
      const workerData = { path: nodePath(), bytes, data, dims, options: webgpuOptions, runs: 200 }
      const next = (worker: Worker) => new Promise((resolve) => worker.once('message', resolve))
      const workers: Worker[] = []
      // Sessions are created, and run once, one after the other.
      for (let i = 0; i < 2; i++) {
        const worker = new Worker(code, { eval: true, workerData })
        await next(worker)
        workers.push(worker)
      }
      await arm('200 runs in each of two threads at once')
      const done = workers.map(next)
      for (const worker of workers) worker.postMessage('go')
      await Promise.all(done)
      return { present: false, detail: '200 runs in each of two threads at once end well' }
    },
  },
  'webgpu-tensor-after-last-session-crash': {
    symptom: 'crash',
    run: async ({ arm }) => {
      const ort = await startWebgpu()
      const { bytes, feeds } = twice()
      const session = await ort.InferenceSession.create(bytes, onDevice)
      const { y0 } = await session.run(toFeeds(ort, feeds))
      await session.release()
      await arm('dispose() of a device tensor after the last session was released')
      y0!.dispose()
      return { present: false, detail: 'dispose() after the last session was released returns' }
    },
  },
  'webgpu-get-data-crash': {
    symptom: 'crash',
    run: async ({ arm }) => {
      const ort = await startWebgpu()
      const { bytes, feeds } = twice()
      const session = await ort.InferenceSession.create(bytes, onDevice)
      const { y0 } = await session.run(toFeeds(ort, feeds))
      await arm('getData() of a device tensor')
      const data = await y0!.getData()
      return { present: false, detail: `getData() of a device tensor returns [${[...(data as Float32Array)]}]` }
    },
  },
  'webgpu-node-no-own-buffers': {
    run: async () => {
      const ort = await startWebgpu()
      const { bytes, feeds } = twice()
      const session = await ort.InferenceSession.create(bytes, onDevice)
      const { y0 } = await session.run(toFeeds(ort, feeds))
      const { webgpu } = ort.env as { readonly webgpu?: { readonly device?: unknown } }
      const device = await webgpu?.device
      let buffer: unknown
      try {
        buffer = y0!.gpuBuffer
      } catch {
        buffer = undefined
      }
      // A GPUBuffer has a size; the binding hands out an opaque handle, if anything.
      const isBuffer = typeof (buffer as { readonly size?: unknown } | undefined)?.size === 'number'
      const detail = `env.webgpu.device: ${typeof device}; gpuBuffer of an output: ${isBuffer ? 'a GPUBuffer' : 'no GPUBuffer'}`
      return { present: device === undefined || !isBuffer, detail }
    },
  },
}
