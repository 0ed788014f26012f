import { strToU8, zipSync } from 'fflate'
import { expect, it } from 'vitest'
import { mlp } from '../../models/index.js'
import { modelOf } from '../../src/graph/index.js'
import { fromArrays, labelColumn, split } from '../../src/index.js'
import type { Settings } from '../../tools/playground/protocol.js'
import { Contender } from '../../tools/playground/worker/contender.js'
import { Control } from '../../tools/playground/worker/control.js'
import { readProject } from '../../tools/playground/worker/take-away/project.js'
import { cpu } from '../lowering/providers.js'

const settings: Settings = {
  ...({ provider: 'wasm', layers: 'all', epochs: 1, batchSize: 4, lr: 0.01, weightDecay: 0, seed: 0 } as const),
  ...{ held: 0.25, kappa: 1, gamma: 0.5, interval: 2, flatness: false },
}

it('a contender that has ended, while the other trains > keeps its last checkpoint, from which training resumes', async () => {
  const data = fromArrays({
    x: { dtype: 'float32', dims: [16, 2], data: Float32Array.from({ length: 32 }, (_, i) => i % 7) },
    labels: labelColumn(Array.from({ length: 16 }, (_, i) => i % 2)),
  })
  const parts = split(data, { validation: settings.held, seed: settings.seed })
  const model = modelOf(mlp({ features: 2, hidden: [4], classes: 2 }))
  const conditions = { parts, settings, control: new Control(), tell: () => {}, folder: 'run' }
  const contender = await Contender.create('base', model, { ...cpu, dispose: async () => {} }, conditions)
  // There is no storage here: a checkpoint could not be stored.
  await expect(contender.keep()).rejects.toThrow()
  await contender.train()
  expect(contender.step).toBe(3)
  await contender.keep()
  await contender.dispose()
})

it('a project that was packed again by an operating system with files of its own > is read without them', async () => {
  const description = {
    ...{ format: 'onnx-ire-playground', version: 1, model: 'net.onnx', history: [], settings },
    form: { size: 28, normalization: 'unit' },
    data: { kind: 'shown', classes: ['a', 'b'] },
  }
  const files = {
    'project.json': strToU8(JSON.stringify(description)),
    ...Object.fromEntries(['model.onnx', 'tuned.onnx', 'tuned-ire.onnx'].map((name) => [name, new Uint8Array(1)])),
    ...Object.fromEntries(['data/.DS_Store', 'data/a/.DS_Store'].map((name) => [name, new Uint8Array(1)])),
  }
  const project = await readProject(new File([zipSync(files) as Uint8Array<ArrayBuffer>], 'project.zip'))
  expect(project.choice).toEqual({ kind: 'shown', classes: ['a', 'b'], examples: [] })
})
