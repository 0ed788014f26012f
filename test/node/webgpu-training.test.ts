import { afterAll, expect, it } from 'vitest'
import { adamw, crossEntropy, evaluateModel, ire, predict, Trainer } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { needs } from '../requirements.js'
import { clusters, smallMlp } from '../train/problem.js'
import { webgpu } from './webgpu.js'

const gpuNeeded = await needs('webgpu')
const cpu = node({ threads: 1 })
const gpu = gpuNeeded.skip ? undefined : webgpu()
afterAll(() => Promise.all([cpu.dispose(), gpu?.dispose()]))

const data = clusters(20, [6])

/** An epoch with IRE, whose last batch is smaller, and what the model then gives. */
async function run(runtime: Runtime) {
  const optimizer = ire(adamw({ lr: 1e-2 }), { kappa: 1, gamma: 0.5, interval: 2 })
  const trainer = await Trainer.create(smallMlp(), { loss: crossEntropy(), optimizer, runtime, batchSize: 8 })
  const losses: number[] = []
  for await (const { loss } of trainer.fit(data, { totalEpochs: 2 })) losses.push(loss)
  const model = trainer.export()
  const measures = await evaluateModel(model, data, { loss: crossEntropy(), runtime, batchSize: 8 })
  const predictions: number[] = []
  for await (const { outputs } of predict(model, data, { runtime, batchSize: 8 }))
    predictions.push(...Array.from(outputs['logits']!.data as Float32Array))
  await trainer.dispose()
  return { losses, measures, predictions }
}

it('WebGPU in Node > training, evaluation and prediction > equal those of the CPU', {
  ...gpuNeeded,
  timeout: 300_000,
}, async () => {
  const [expected, found] = [await run(cpu), await run(gpu!)]
  expect(found.losses).toEqual(expected.losses.map((loss) => expect.closeTo(loss, 3)))
  expect(found.measures.loss).toBeCloseTo(expected.measures.loss, 3)
  expect(found.measures.accuracy).toBe(expected.measures.accuracy)
  expect(found.predictions).toEqual(expected.predictions.map((logit) => expect.closeTo(logit, 2)))
})
