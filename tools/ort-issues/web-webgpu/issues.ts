import type { Finding, Reproducer, Reproducers } from '../issue.js'
import { int64Scalar, noise, of, op, type Probe, probe } from '../model.js'
import { runNode } from '../node.js'
import { base64, inPage } from './browser.js'
import type { Kit } from './page.js'

/** x0 [4] + 1 */
const plusOne = () => probe([of('float32', [4], 1, 2, 3, 4)], (x) => op.Add(x!, 1))
/** A model of several kernels. */
const several = () => probe([noise('float32', [64, 64])], (x) => op.Tanh(op.MatMul(op.Sin(op.MatMul(x!, x!)), x!)))

const page = (
  model: () => Probe,
  work: (kit: Kit, model: string) => Promise<Finding>,
  { gpu = true, limit = 120 }: { readonly gpu?: boolean; readonly limit?: number } = {},
): Reproducer => ({ limit, run: () => inPage(work, base64(model()), gpu) })

export const webGpuIssues: Reproducers = {
  'web-webgpu-concurrent-runs-hang': page(several, async (kit, model) => {
    const ort = await kit.load('webgpu')
    const device = await kit.device()
    const options = { executionProviders: [{ name: 'webgpu', device }] }
    const feeds = () => ({ x0: new ort.Tensor('float32', new Float32Array(4096).fill(0.01), [64, 64]) })
    const [a, b] = [
      await ort.InferenceSession.create(kit.bytes(model), options),
      await ort.InferenceSession.create(kit.bytes(model), options),
    ]
    const start = performance.now()
    for (const session of [a, b]) await session.run(feeds())
    const alone = performance.now() - start
    const both = Promise.allSettled([a.run(feeds()), b.run(feeds())])
    const outcome = await kit.within(20_000, both)
    const results = outcome === 'late' ? 'no answer within 20 s' : outcome.map(({ status }) => status).join(', ')
    return {
      present: outcome === 'late' || outcome.some(({ status }) => status === 'rejected'),
      detail: `two runs one after the other: ${alone.toFixed(0)} ms; both at once: ${results}`,
    }
  }),
  'web-webgpu-concurrent-creates-reject': page(several, async (kit, model) => {
    const ort = await kit.load('webgpu')
    const device = await kit.device()
    const options = { executionProviders: [{ name: 'webgpu', device }] }
    await ort.InferenceSession.create(kit.bytes(model), options)
    const both = Promise.allSettled([1, 2].map(() => ort.InferenceSession.create(kit.bytes(model), options)))
    const outcome = await kit.within(20_000, both)
    const results =
      outcome === 'late'
        ? 'no answer within 20 s'
        : outcome
            .map((it) => (it.status === 'rejected' ? `rejected (${it.reason})`.slice(0, 90) : 'created'))
            .join(', ')
    return {
      present: outcome === 'late' || outcome.some(({ status }) => status === 'rejected'),
      detail: `two sessions created at once: ${results}`,
    }
  }),
  'web-webgpu-lost-device-silent': page(plusOne, async (kit, model) => {
    const ort = await kit.load('webgpu')
    const session = await ort.InferenceSession.create(kit.bytes(model), {
      executionProviders: ['webgpu'],
      preferredOutputLocation: 'gpu-buffer',
    })
    const device = ort.env.webgpu.device!
    const feeds = () => ({ x0: new ort.Tensor('float32', Float32Array.of(1, 2, 3, 4), [4]) })
    await session.run(feeds())
    device.destroy()
    await device.lost
    const run = session.run(feeds()).then(
      () => 'run() resolves',
      (error) => `error: ${error}`.slice(0, 120),
    )
    const outcome = await kit.within(20_000, run)
    return {
      present: outcome === 'late' || !outcome.startsWith('error'),
      detail: `an output on a lost device: ${outcome === 'late' ? 'no answer within 20 s' : outcome}`,
    }
  }),
  'web-webgpu-env-device-ignored': page(plusOne, async (kit, model) => {
    const ort = await kit.load('webgpu')
    const device = (await kit.device())!
    try {
      ort.env.webgpu.device = device
    } catch (error) {
      return { present: true, detail: `env.webgpu.device cannot be set: ${error}` }
    }
    const session = await ort.InferenceSession.create(kit.bytes(model), {
      executionProviders: ['webgpu'],
      preferredOutputLocation: 'gpu-buffer',
    })
    const { y0 } = await session.run({ x0: new ort.Tensor('float32', Float32Array.of(1, 2, 3, 4), [4]) })
    device.pushErrorScope('validation')
    await kit.read(device, y0!.gpuBuffer, 4).catch(() => {})
    const error = await device.popErrorScope()
    const detail = error
      ? `the output is a buffer of another device: ${error.message.replaceAll(/\s+/g, ' ').slice(0, 120)}`
      : 'the output is a buffer of the given device'
    return { present: error !== null, detail }
  }),
  'web-webgpu-no-tensors-on-given-device': page(plusOne, async (kit, model) => {
    const ort = await kit.load('webgpu')
    const device = (await kit.device())!
    const session = await ort.InferenceSession.create(kit.bytes(model), {
      executionProviders: [{ name: 'webgpu', device }],
    })
    const x = ort.Tensor.fromGpuBuffer(kit.buffer(device, [1, 2, 3, 4]), { dataType: 'float32', dims: [4] })
    const outcome = await session.run({ x0: x }).then(
      ({ y0 }) => `[${[...y0!.data]}]`,
      (error) => `${error}`.replace(/^.*ERROR_MESSAGE: /s, '').slice(0, 200),
    )
    return { present: outcome !== '[2,3,4,5]', detail: `a run on a buffer of the given device: ${outcome}` }
  }),
  'web-webgpu-device-ends-with-last-session': page(plusOne, async (kit, model) => {
    const ort = await kit.load('webgpu')
    const options = { executionProviders: ['webgpu'] }
    const session = await ort.InferenceSession.create(kit.bytes(model), options)
    const { device } = ort.env.webgpu
    if (!device) throw new Error('env.webgpu.device is undefined')
    await session.release()
    const lost = await kit.within(2000, device.lost)
    return {
      present: lost !== 'late',
      detail: `after release() of the last session its device ${lost === 'late' ? 'lives' : `is lost (${lost.message})`}`,
    }
  }),
  'web-webgpu-one-buffer-in-and-out': page(plusOne, async (kit, model) => {
    const ort = await kit.load('webgpu')
    const session = await ort.InferenceSession.create(kit.bytes(model), { executionProviders: ['webgpu'] })
    const device = ort.env.webgpu.device!
    const [x, y] = [kit.buffer(device, [1, 2, 3, 4]), kit.buffer(device, [0, 0, 0, 0])]
    const tensor = (buffer: typeof x) => ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: [4] })
    await session.run({ x0: tensor(x) }, { y0: tensor(y) })
    const apart = await kit.read(device, y, 4)
    if (apart[0] !== 2) throw new Error(`two buffers give [${apart}]`)
    device.pushErrorScope('validation')
    await session.run({ x0: tensor(x) }, { y0: tensor(x) }).catch(() => {})
    const error = await device.popErrorScope()
    const got = await kit.read(device, x, 4)
    const message = error ? `, ${error.message.replaceAll(/\s+/g, ' ').slice(0, 100)}` : ''
    return { present: error !== null || got[0] !== 2, detail: `[1, 2, 3, 4] + 1 in place: [${got}]${message}` }
  }),
  'web-webgpu-buffer-types': page(plusOne, async (kit) => {
    const ort = await kit.load('webgpu')
    const device = (await kit.device())!
    const buffer = kit.buffer(device, [1, 2, 3, 4])
    const create = (dataType: string) => {
      try {
        ort.Tensor.fromGpuBuffer(buffer, { dataType, dims: [1] })
        return true
      } catch {
        return false
      }
    }
    if (!create('float32')) throw new Error('fromGpuBuffer rejects float32')
    const rejected = ['float64', 'uint64', 'int8', 'int16', 'uint16'].filter((dtype) => !create(dtype))
    return { present: rejected.length > 0, detail: `fromGpuBuffer rejects ${rejected.join(', ') || 'none of them'}` }
  }),
  'web-webgpu-buffers-longer-than-tensors': page(plusOne, async (kit, model) => {
    const ort = await kit.load('webgpu')
    const session = await ort.InferenceSession.create(kit.bytes(model), {
      executionProviders: ['webgpu'],
      preferredOutputLocation: 'gpu-buffer',
    })
    const { y0 } = await session.run({ x0: new ort.Tensor('float32', Float32Array.of(1, 2, 3, 4), [4]) })
    const { size } = y0!.gpuBuffer
    return { present: size !== 16, detail: `an output of 16 bytes has a buffer of ${size} bytes` }
  }),
  'web-webgpu-get-data-needs-download': page(plusOne, async (kit) => {
    const ort = await kit.load('webgpu')
    const device = (await kit.device())!
    const own = ort.Tensor.fromGpuBuffer(kit.buffer(device, [1, 2, 3, 4]), { dataType: 'float32', dims: [4] })
    const outcome = await own.getData().then(
      (data) => `[${[...data]}]`,
      (error) => `${error}`,
    )
    return {
      present: outcome !== '[1,2,3,4]',
      detail: `getData() of a tensor from fromGpuBuffer: ${outcome.slice(0, 120)}`,
    }
  }),
  'web-webgpu-bundle-lacks-float64': page(
    () => probe([of('float64', [2], 1, 2)], (x) => op.Add(x!, x!)),
    async (kit, model) => {
      const create = async (entry: string) => {
        const ort = await kit.load(entry)
        ort.env.wasm.numThreads = 1
        return ort.InferenceSession.create(kit.bytes(model), { executionProviders: ['wasm'] }).then(
          () => 'loads',
          (error) => `${error}`.replace(/^.*ERROR_MESSAGE: /s, '').slice(0, 100),
        )
      }
      const webgpu = await create('webgpu')
      return { present: webgpu !== 'loads', detail: `float64 Add on the wasm provider of the entry /webgpu: ${webgpu}` }
    },
    { gpu: false },
  ),
  'web-webgpu-bundle-lacks-dropout': page(
    () => probe([of('float32', [2], 1, 2)], (x) => op.Dropout(x!)[0]),
    async (kit, model) => {
      const ort = await kit.load('webgpu')
      ort.env.wasm.numThreads = 1
      const outcome = await ort.InferenceSession.create(kit.bytes(model), {
        executionProviders: ['wasm'],
        graphOptimizationLevel: 'disabled',
      }).then(
        () => 'loads',
        (error) => `${error}`.replace(/^.*ERROR_MESSAGE: /s, '').slice(0, 100),
      )
      return { present: outcome !== 'loads', detail: `Dropout on the wasm provider of the entry /webgpu: ${outcome}` }
    },
    { gpu: false },
  ),
  'web-jsep-wrong-results': {
    limit: 180,
    run: async () => {
      const numbers = (model: Probe) =>
        Object.entries(model.feeds).map(([name, { dims, data }]) => ({
          name,
          dims,
          values: [...(data as Float32Array)],
        }))
      const models: Readonly<Record<string, Probe>> = {
        'CumSum in reverse': probe([noise('float32', [2, 5])], (x) => op.CumSum(x!, int64Scalar(1), { reverse: 1 })),
        'Einsum over three matrices': probe(
          [noise('float32', [2, 3]), noise('float32', [3, 4], 1), noise('float32', [4, 5], 2)],
          (a, b, c) => op.Einsum([a!, b!, c!], { equation: 'ij,jk,kl->il' }),
        ),
      }
      const wrong: string[] = []
      for (const [name, model] of Object.entries(models)) {
        const [right] = await runNode(model)
        const argument = { model: base64(model), feeds: numbers(model), right: Array.from(right!.data, Number) }
        const finding = await inPage(async (kit, { model, feeds, right }) => {
          const ort = await kit.load('')
          const session = await ort.InferenceSession.create(kit.bytes(model), { executionProviders: ['webgpu'] })
          const tensors = feeds.map(({ name, dims, values }) => [
            name,
            new ort.Tensor('float32', Float32Array.from(values), dims),
          ])
          const { y0 } = await session.run(Object.fromEntries(tensors))
          const error = Math.max(...right.map((value, i) => Math.abs(value - y0!.data[i]!)))
          return { present: !(error < 1e-2), detail: '' }
        }, argument)
        if (finding.present) wrong.push(name)
      }
      return { present: wrong.length > 0, detail: `wrong in the default entry: ${wrong.join(', ') || 'none'}` }
    },
  },
}

export const wasmPageIssues: Reproducers = {
  'web-wasm-one-thread-by-default': page(
    plusOne,
    async (kit, model) => {
      const ort = await kit.load('wasm')
      await ort.InferenceSession.create(kit.bytes(model), { executionProviders: ['wasm'] })
      const { numThreads } = ort.env.wasm
      const cores = (globalThis as unknown as { navigator: { hardwareConcurrency: number } }).navigator
        .hardwareConcurrency
      if (!kit.isolated || cores < 2) throw new Error('the page is not isolated, or has one core')
      return { present: numThreads === 1, detail: `numThreads ${numThreads} in an isolated page with ${cores} cores` }
    },
    { gpu: false },
  ),
}
