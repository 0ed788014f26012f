import { expect, it } from 'vitest'
import { adamw, compileModel, crossEntropy, type Runtime, Trainer } from '../../src/index.js'
import { cApi, node } from '../../src/node/index.js'
import { clusters, smallMlp } from './problem.js'

const points = clusters(32, [6])

it.each([
  ['node', () => node({ worker: false, threads: 1 })],
  ['cApi', () => cApi({ threads: 1 })],
])('await using > disposes of trainers, programs and runtimes of %s at the end of a block', async (_, create) => {
  const used: {
    trainer?: Trainer
    program?: Awaited<ReturnType<typeof compileModel>>
    runtime?: Runtime
  } = {}
  {
    await using runtime = create()
    {
      await using trainer = await Trainer.create(smallMlp(), { loss: crossEntropy(), optimizer: adamw(), runtime })
      await using program = await compileModel(runtime, trainer.export())
      Object.assign(used, { trainer, program, runtime })
      await trainer.train(points, { totalEpochs: 1 })
    }
    await expect(used.program!.run({})).rejects.toThrow('program was released')
    await expect(used.trainer!.train(points, { totalEpochs: 2 })).rejects.toMatchObject({ code: 'runtime' })
  }
  await expect(compileModel(used.runtime!, smallMlp())).rejects.toThrow('runtime was disposed')
})
