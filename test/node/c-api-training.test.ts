import { afterAll, describe, expect, it, vi } from 'vitest'
import { mlp } from '../../models/index.js'
import { modelOf } from '../../src/graph/index.js'
import { adamw, crossEntropy, ire, type Runtime, sam, Trainer } from '../../src/index.js'
import { type CApiOptions, cApi, node } from '../../src/node/index.js'
import { sgd } from '../../src/optim/sgd.js'
import type { Device } from '../../src/runtime/device.js'
import { agree } from '../backend/onnx/device-run.js'
import { bases, createOptimizer, ireOptions } from '../optim/optimizers.js'
import { settings } from '../optim/problem.js'
import { type Needs, needs } from '../requirements.js'
import { clusters, flat, smallMlp } from '../train/problem.js'

const cudaNeeded = await needs('cuda')

const enhanced = ire(sam(adamw({ lr: 0.03 }), { rho: 0.1 }), ireOptions)

describe('training state on the host, with gradients written to the same arrays at every step', () => {
  it.each([
    ['SAM and IRE', { optimizer: enhanced }],
    ['micro-batches', { optimizer: ire(adamw({ lr: 0.03 }), ireOptions), microBatch: 3 }],
    ['empirical curvature', { optimizer: ire(adamw({ lr: 0.03 }), { ...ireOptions, curvature: 'empirical' }) }],
    ['Hessian', { optimizer: ire(adamw({ lr: 0.03 }), { ...ireOptions, curvature: 'hutchinson' }) }],
  ] as const)('%s > bitwise as with node()', async (_, options) => {
    const train = async (runtime: Runtime) => {
      const trainer = await Trainer.create(smallMlp(), { loss: crossEntropy(), batchSize: 8, ...options, runtime })
      await trainer.train(clusters(40, [6]), { totalEpochs: 4 })
      const parameters = flat(await trainer.parameters())
      await trainer.dispose()
      await runtime.dispose()
      return parameters
    }
    expect(await train(cApi({ threads: 1 }))).toEqual(await train(node({ threads: 1, worker: false })))
  })

  it('one thread > tensors are in WebAssembly memory, as with several', async () => {
    const runtime = cApi({ threads: 1 })
    const options = { loss: crossEntropy(), optimizer: adamw(), runtime }
    const trainer = await Trainer.create(modelOf(mlp({ features: 6, hidden: [200, 200], classes: 3 })), options)
    const copies = vi.spyOn(Float32Array.prototype, 'set')
    try {
      await trainer.train(clusters(8, [6]), { totalEpochs: 1 })
      // Kernels copy chunks of this length.
      expect(copies.mock.calls.filter(([from]) => from.length === 4096)).toEqual([])
    } finally {
      copies.mockRestore()
      await trainer.dispose()
      await runtime.dispose()
    }
  })
})

describe.each<[string, Partial<Needs>, CApiOptions, number]>([
  ['the CPU', {}, { threads: 1, resident: true }, 1e-5],
  ['CUDA', cudaNeeded, { provider: 'cuda' }, 1e-3],
])('training state stored by the C API on %s', (_, needed, of, tolerance) => {
  const open: Runtime[] = []
  const start = () => {
    open[0] ??= cApi(of)
    return open[0]
  }
  const device = (): Device => start().device!
  afterAll(async () => {
    for (const runtime of open) await runtime.dispose()
  })

  it.each(Object.entries(bases))(
    '50 steps of %s, with and without SAM and IRE > parameters equal those of the host backend to 1e-5',
    needed,
    async (_, base) => {
      await agree(device(), createOptimizer({ base }))
      await agree(device(), createOptimizer({ base, sam: { rho: 0.1 }, ire: ireOptions }))
    },
  )

  it('clipping and per-parameter settings > parameters equal those of the host backend', needed, async () => {
    await agree(device(), enhanced, { settings, clipNorm: 2, clipValue: 1 })
    await agree(device(), sgd({ lr: 0.02, momentum: 0.8 }), { clipNorm: 1 })
  })

  it('trainer > parameters equal those of a trainer on the host', needed, async () => {
    const host = node({ threads: 1, worker: false })
    const data = clusters(40, [6])
    const train = async (runtime: Runtime) => {
      const common = { loss: crossEntropy(), optimizer: enhanced, batchSize: 8, runtime }
      const trainer = await Trainer.create(smallMlp(), common)
      const losses: number[] = []
      for await (const { loss } of trainer.fit(data, { totalEpochs: 10 })) losses.push(loss)
      await trainer.sync()
      const parameters = flat(await trainer.parameters())
      await trainer.dispose()
      return { losses, parameters }
    }
    const [there, here] = [await train(start()), await train(host)]
    await host.dispose()
    expect(here.losses.at(-1)!).toBeLessThan(0.5 * here.losses[0]!)
    for (const [i, loss] of there.losses.entries()) expect(Math.abs(loss - here.losses[i]!)).toBeLessThan(tolerance)
    const off = there.parameters.map((x, i) => Math.abs(x - here.parameters[i]!) / Math.max(0.1, Math.abs(x)))
    expect(Math.max(...off)).toBeLessThan(10 * tolerance)
  })
})
