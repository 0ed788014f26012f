import { afterAll, describe, expect, it } from 'vitest'
import type { TrainingDevice } from '../../src/backend/backend.js'
import { OnnxBackend } from '../../src/backend/onnx/onnx-backend.js'
import { adamw, crossEntropy, type FitOptions, OnnxIreError, Trainer, type TrainerOptions } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { encodeModel } from '../../src/onnx/model.js'
import { hostDevice } from '../backend/onnx/host-device.js'
import { errorWith } from '../thrown.js'
import { clusters, flat, smallMlp } from './problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const points = clusters(40, [6])

const create = (options: object = {}): Promise<Trainer> =>
  Trainer.create(smallMlp(), {
    loss: crossEntropy(),
    optimizer: adamw({ lr: 1e-2 }),
    runtime,
    batchSize: 8,
    ...(options as Partial<TrainerOptions>), // also values that the types reject
  })

async function fitted(trainer: Trainer, options: object = { totalEpochs: 2 }): Promise<void> {
  for await (const _ of trainer.fit(points, options as FitOptions));
}

describe('a trainer rejects', () => {
  it.each([
    [{ clipnorm: 1 }, /there is no option 'clipnorm'.*clipNorm/],
    [{ loss: undefined }, /'loss' is undefined.*crossEntropy/],
    [{ optimizer: 'adamw' }, /'optimizer' is 'adamw'.*adamw\(\)/],
    [{ runtime: {} }, /'runtime'.*node\(\)/],
    [{ batchNorm: 'train' }, /'batchNorm' is 'train'.*'trained'/],
    [{ dropout: true }, /'dropout' is true.*'on'/],
    [{ metrics: ['accuracy'] }, /metrics.*'accuracy'.*accuracy\(\)/],
    [{ groups: [{ tensors: '*', frozen: 'yes' }] }, /groups\[0\].*'frozen'.*untilStep/],
    [{ groups: [{ tensors: '*', frozen: { untilSteps: 3 } }] }, /'frozen'.*untilSteps.*untilStep/],
    [{ best: { metric: 'acc' } }, /'acc'.*'accuracy'/],
    [{ earlyStopping: { metric: 'f1', patience: 3 } }, /'f1'/],
    [{ schedule: { kind: 'plateau', metric: 'f1' } }, /'f1'/],
  ])('%j at creation', async (options, message) => {
    await expect(create(options)).rejects.toMatchObject({
      code: 'invalid-option',
      message: expect.stringMatching(message),
    })
  })

  it.each([
    [{ maxEpochs: 3, totalEpochs: 1 }, /'maxEpochs'.*totalEpochs/],
    [{ totalEpochs: 1, checkpoints: { store: {}, every: 2 } }, /'every'.*everySteps/],
    [{ totalEpochs: 1, checkpoints: { store: './runs' } }, /'store' is '.\/runs'.*checkpointFolder/],
    [{ totalEpochs: 1, checkpoints: {} }, /'store' is undefined/],
    [{ totalEpochs: 1, validation: 0.2 }, /validation is 0.2.*split\(/],
  ])('fit with %j', async (options, message) => {
    const refused = fitted(await create(), options)
    await expect(refused).rejects.toMatchObject({
      code: expect.stringMatching(/^invalid-(option|data)$/),
      message: expect.stringMatching(message),
    })
  })

  it('fit and evaluate with data that is not a data set', async () => {
    const trainer = await create()
    for (const data of [undefined, [points], 7]) {
      const given = data as never // rejected by the types
      const refused = { code: 'invalid-data', message: expect.stringMatching(/data/) }
      await expect(trainer.fit(given, { totalEpochs: 1 }).next()).rejects.toMatchObject(refused)
      await expect(trainer.evaluate(given)).rejects.toMatchObject(refused)
    }
  })

  it('NaN or infinity in the data that makes a step fail, naming its example', async () => {
    for (const [value, code] of [
      [Number.NaN, 'invalid-data'],
      [Number.NEGATIVE_INFINITY, 'not-finite'],
    ] as const) {
      const batch = async (indices: ArrayLike<number>) => {
        const tensors = await points.batch(indices)
        const x = Float32Array.from(tensors['x']!.data as Float32Array)
        const row = Array.from(indices).indexOf(33)
        if (row >= 0) x[6 * row + 2] = value
        return { ...tensors, x: { ...tensors['x']!, data: x } }
      }
      const trainer = await create()
      await expect(trainer.train({ length: 40, batch }, { totalEpochs: 1 })).rejects.toMatchObject({
        code,
        message: expect.stringMatching(
          new RegExp(`^'x' has ${value} in example 33 of the training data \\(element 2 of 6\\); step \\d: .*NaN`),
        ),
      })
    }
    // Without such data the learning rate is blamed alone.
    const diverging = await create({ optimizer: adamw({ lr: 1e38 }) })
    await expect(fitted(diverging)).rejects.toMatchObject({
      code: 'not-finite',
      message: expect.stringMatching(/^step 1: .*lower the learning rate/),
    })
  })

  it('fit and evaluate with batches that are no tensors, or without a number of examples', async () => {
    const { x, labels } = await points.batch([0])
    for (const [batch, message] of [
      [undefined, /batch\(indices\) of the data set returned undefined; it must return tensors by name/],
      [[x, labels], /returned \[\{...\},\{...\}\]/],
      [{ x: [1, 2], labels }, /^'x' of the data set is no tensor: .*dtype: 'float32'/],
      [{ x, labels: { type: 'int64', dims: [1], data: labels!.data } }, /'labels'.*'type' of a tensor of onnxruntime/],
    ] as const) {
      const data = { length: 1, batch: () => batch } as never // rejected by the types
      const refused = { code: 'invalid-data', message: expect.stringMatching(message) }
      const trainer = await create()
      await expect(trainer.train(data, { totalEpochs: 1 })).rejects.toMatchObject(refused)
      await expect(trainer.evaluate(data)).rejects.toMatchObject(refused)
    }
    const counted = { length: Number.NaN, batch: points.batch }
    const refused = { code: 'invalid-option', message: expect.stringMatching(/a data set: option 'length' is NaN/) }
    await expect((await create()).train(counted, { totalEpochs: 1 })).rejects.toMatchObject(refused)
  })

  it('data of another type than the graph takes, with the conversion', async () => {
    const { x, labels } = await points.batch([0])
    const asFloat = { ...labels!, dtype: 'float32', data: Float32Array.of(0) } as const
    const asInteger = { ...x!, dtype: 'int64', data: new BigInt64Array(6) } as const
    for (const [batch, message] of [
      [{ x, labels: asFloat }, /'labels' is float32, but the graph takes int64: .*labelColumn.*as: 'class'/],
      [{ x: asInteger, labels }, /'x' is int64, but the graph takes float32: .*as: 'number', or 'one-hot'/],
    ] as const) {
      const data = { length: 1, batch: () => batch as never }
      const refused = { code: 'invalid-data', message: expect.stringMatching(message) }
      await expect((await create()).train(data, { totalEpochs: 1 })).rejects.toMatchObject(refused)
    }
  })

  it('fit and evaluate after dispose, but still exports', async () => {
    const trainer = await create()
    await fitted(trainer)
    const trained = encodeModel(trainer.export())
    await trainer.dispose()
    await expect(fitted(trainer, { totalEpochs: 3 })).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching('disposed'),
    })
    await expect(trainer.evaluate(points)).rejects.toMatchObject({ code: 'runtime' })
    expect(encodeModel(trainer.export())).toEqual(trained)
  })

  it('a graph that the runtime fails to compile, and compiles it at the next call', async () => {
    let refusals = 0
    const compile: typeof runtime.compile = (model) =>
      refusals-- > 0 ? Promise.reject(new OnnxIreError('runtime', 'not now')) : runtime.compile(model)
    const trainer = await create({ runtime: { ...runtime, compile } })
    refusals = 1
    await expect(trainer.evaluate(points)).rejects.toThrow('not now')
    expect((await trainer.evaluate(points)).loss).toBeGreaterThan(0)
    await trainer.dispose()
  })

  it('a backend that fails to load, and loads it at the next fit', async () => {
    let refusals = 1
    const plain = hostDevice(runtime)
    class Failing extends OnnxBackend {
      override load(...args: Parameters<OnnxBackend['load']>): Promise<void> {
        return refusals-- > 0 ? Promise.reject(new OnnxIreError('runtime', 'not now')) : super.load(...args)
      }
    }
    const createBackend: TrainingDevice['createBackend'] = (own, spec) => new Failing(own, plain, spec)
    const device: TrainingDevice = { ...plain, createBackend }
    const trainer = await create({ runtime: { ...runtime, device } })
    await expect(fitted(trainer)).rejects.toThrow('not now')
    await fitted(trainer)
    expect(trainer.step).toBe(10)
    await trainer.dispose()
  })

  it('a second fit within a step, without an effect on the first', async () => {
    const [alone, shared] = [await create(), await create()]
    await fitted(alone)
    const [first, second] = await Promise.allSettled([fitted(shared), fitted(shared)])
    expect(first.status).toBe('fulfilled')
    expect(second).toMatchObject({ reason: { code: 'invalid-option' } })
    expect(flat(await shared.parameters())).toEqual(flat(await alone.parameters()))
  })

  it('a checkpoint of another run, naming the differences', async () => {
    const checkpoint = (await create({ clipNorm: 1 })).checkpoint()
    const other = await create({ optimizer: adamw({ lr: 1e-3 }), dropout: 'on', curvatureShare: 0.5 })
    expect(() => other.restore(checkpoint)).toThrow(
      /optimizer\.base\.lr is 0\.001, it was 0\.01; clipNorm is left out, it was 1; dropout is "on", it was left out; curvatureShare is 0\.5, it was left out/,
    )
  })
  it('but no checkpoint whose options were given in another order', async () => {
    const [groups, schedule] = [[{ tensors: 'head*', lr: 0.1 }], { kind: 'cosine', warmup: 1 } as const]
    const trainer = await create({ groups, schedule })
    const other = await create({ groups: [{ lr: 0.1, tensors: 'head*' }], schedule: { warmup: 1, kind: 'cosine' } })
    other.restore(trainer.checkpoint())
    const third = await create({ groups: [{ lr: 0.2, tensors: 'head*' }], schedule })
    expect(() => third.restore(trainer.checkpoint())).toThrow(errorWith('checkpoint', 'groups is'))
  })
})
