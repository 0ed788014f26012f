import { afterEach, expect, it, vi } from 'vitest'
import { mlp } from '../../models/index.js'
import { modelOf } from '../../src/graph/index.js'
import { fromArrays, labelColumn, split } from '../../src/index.js'
import type { Form, Settings } from '../../tools/playground/protocol.js'
import { chooseProvider } from '../../tools/playground/worker/choose-provider.js'
import { Control } from '../../tools/playground/worker/control.js'
import { cpu } from '../lowering/providers.js'

const webgpu = vi.hoisted(() => vi.fn())
vi.mock('onnx-ire/web', () => ({
  wasm: () => Promise.reject(new Error('out of memory')),
  webgpu,
  storage: { read: () => Promise.reject(new Error('none')), write: async () => {} },
}))
afterEach(() => vi.unstubAllGlobals())

/** Chooses the runtime for a small model, on a machine with a graphics card. */
function choose() {
  const info = { vendor: 'a', architecture: 'b', device: 'c', description: 'd', isFallbackAdapter: false }
  vi.stubGlobal('navigator', { gpu: { requestAdapter: async () => ({ info }) }, hardwareConcurrency: 2 })
  vi.stubGlobal('crossOriginIsolated', false)
  const settings: Settings = {
    ...({ provider: 'auto', layers: 'all', epochs: 1, batchSize: 4, lr: 0.01, weightDecay: 0, seed: 0 } as const),
    ...{ held: 0.25, kappa: 1, gamma: 0.5, interval: 2, flatness: false },
  }
  const data = fromArrays({
    x: { dtype: 'float32', dims: [16, 2], data: new Float32Array(32) },
    labels: labelColumn(Array.from({ length: 16 }, (_, i) => i % 2)),
  })
  const model = modelOf(mlp({ features: 2, hidden: [4], classes: 2 }))
  const parts = split(data, { validation: settings.held, seed: settings.seed })
  const form = { size: 1 } as Form
  return chooseProvider({ settings, original: model, model, form, parts, signal: new Control().signal }, () => {})
}

it('WebAssembly that cannot train the model > WebGPU is chosen', async () => {
  webgpu.mockImplementation(async () => ({ ...cpu, dispose: async () => {} }))
  expect(await choose()).toEqual({
    provider: 'webgpu',
    reason: 'WebAssembly cannot train this model here: out of memory',
  })
})

it('neither can train the model > the error of WebAssembly', async () => {
  webgpu.mockRejectedValue(new Error('no adapter'))
  await expect(choose()).rejects.toThrow('out of memory')
})
