import { describe, expect, it } from 'vitest'
import { fromArrays, type Runtime, sgd, Trainer } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { positionLosses, positionModel } from '../loss/sequence-problem.js'
import { needs } from '../requirements.js'

/** Measures before and after two steps. */
async function train(runtime: Runtime, { data, options }: (typeof positionLosses)[number]) {
  const trainer = await Trainer.create(positionModel(), {
    ...options,
    optimizer: sgd({ lr: 0.1 }),
    runtime,
    batchSize: 6,
  })
  const examples = fromArrays(data)
  const before = await trainer.evaluate(examples)
  await trainer.train(examples, { totalSteps: 2 })
  const after = await trainer.evaluate(examples)
  await trainer.dispose()
  await runtime.dispose()
  return { before, after }
}

describe('losses of sequences and embeddings on WebGPU', await needs('webgpu'), () => {
  it.each(positionLosses.filter(({ name }) => ['ctc', 'multiple negatives'].includes(name)))(
    '$name > losses and metrics as on the CPU',
    async (of) => {
      const cpu = await train(node({ threads: 1, worker: false }), of)
      const gpu = await train(await node({ provider: 'webgpu', fallback: null }), of)
      expect(cpu.after.loss).toBeLessThan(cpu.before.loss)
      for (const part of ['before', 'after'] as const)
        for (const [name, value] of Object.entries(cpu[part]))
          expect(gpu[part][name], name).toBeCloseTo(value as number, 4)
    },
  )
})
