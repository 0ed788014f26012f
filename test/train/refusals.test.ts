import { afterAll, describe, expect, it } from 'vitest'
import { adamw, crossEntropy, type FitOptions, sgd, Trainer, type TrainerOptions } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { clusters, flat, smallMlp } from './problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const points = clusters(40, [6])
const others = clusters(24, [6], 9)

const create = (options: object = {}): Promise<Trainer> =>
  Trainer.create(smallMlp(), {
    loss: crossEntropy(),
    optimizer: adamw({ lr: 1e-2 }),
    runtime,
    batchSize: 8,
    ...(options as Partial<TrainerOptions>), // also what the types refuse
  })

async function fit(trainer: Trainer, options: object = { epochs: 2 }): Promise<void> {
  for await (const _ of trainer.fit(points, options as FitOptions));
}

describe('a trainer refuses', () => {
  it.each([
    [{ clipnorm: 1 }, /there is no option 'clipnorm'.*clipNorm/],
    [{ loss: undefined }, /'loss' is undefined.*crossEntropy/],
    [{ optimizer: 'adamw' }, /'optimizer' is 'adamw'.*adamw\(\)/],
    [{ runtime: {} }, /'runtime'.*node\(\)/],
    [{ batchNorm: 'train' }, /'batchNorm' is 'train'.*'trained'/],
    [{ dropout: true }, /'dropout' is true.*'on'/],
    [{ best: { metric: 'acc' } }, /'acc'.*'accuracy'/],
    [{ earlyStopping: { metric: 'f1', patience: 3 } }, /'f1'/],
    [{ schedule: { kind: 'plateau', metric: 'f1' } }, /'f1'/],
  ])('%j when it is made', async (options, message) => {
    await expect(create(options)).rejects.toMatchObject({
      code: 'invalid-option',
      message: expect.stringMatching(message),
    })
  })

  it.each([
    [{ maxEpochs: 3, epochs: 1 }, /'maxEpochs'.*epochs/],
    [{ epochs: 1, checkpoints: { store: {}, every: 2 } }, /'every'.*everySteps/],
  ])('to fit with %j', async (options, message) => {
    const refused = fit(await create(), options)
    await expect(refused).rejects.toMatchObject({ code: 'invalid-option', message: expect.stringMatching(message) })
  })

  it('a second fit in the middle of a step, and the first is none the worse for it', async () => {
    const [alone, shared] = [await create(), await create()]
    await fit(alone)
    const [first, second] = await Promise.allSettled([fit(shared), fit(shared)])
    expect(first.status).toBe('fulfilled')
    expect(second).toMatchObject({ reason: { code: 'invalid-option' } })
    expect(flat(shared.parameters)).toEqual(flat(alone.parameters))
  })

  it('a checkpoint of another run, saying in what they differ', async () => {
    const checkpoint = (await create({ clipNorm: 1 })).checkpoint()
    const other = await create({ optimizer: adamw({ lr: 1e-3 }), dropout: 'on' })
    expect(() => other.restore(checkpoint)).toThrow(
      /optimizer\.base\.lr is 0\.001, it was 0\.01; clipNorm is left out, it was 1; dropout is "on", it was left out/,
    )
  })
})

it('a validation loss that is infinite is never the best, and a checkpoint keeps that', async () => {
  const options = { optimizer: sgd({ lr: 1e38 }), best: {}, earlyStopping: { patience: 3 } }
  const trainer = await create(options)
  await fit(trainer, { steps: 1, validation: others })
  expect((await trainer.evaluate(others)).loss).not.toBeLessThan(Number.MAX_VALUE)
  const resumed = await create(options)
  resumed.restore(trainer.checkpoint())
  expect(resumed.checkpoint()).toEqual(trainer.checkpoint())
  expect(flat((await create()).parameters)).toEqual(flat(resumed.ground('best').arrays))
})
