import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { convnet } from '../../models/convnet.js'
import { Random } from '../../src/data/index.js'
import { buildTrainingGraphs, importGraph, input, modelOf, op, parameter } from '../../src/graph/index.js'
import {
  adamw,
  augment,
  crossEntropy,
  type Dataset,
  ire,
  OnnxIreError,
  split,
  stream,
  type Trainer,
  type TrainerOptions,
} from '../../src/index.js'
import { topological } from '../../src/ir/topology.js'
import { featureFiles } from '../../src/node/index.js'
import { clusters, flat, modelFrom, normal, smallConvnet } from './problem.js'
import { startTrainers, train } from './small-trainer.js'

const { create: createTrainer } = startTrainers()
const create = (options: Partial<TrainerOptions>): Promise<Trainer> => createTrainer(options, smallConvnet())

const images = clusters(40, [2, 8, 8])
const { train: data, validation } = split(images, { validation: 0.3, seed: 1 })
const head = { freeze: { except: 'head' } } as const

/** Losses of every step and of the validations. */
async function losses(trainer: Trainer, totalEpochs = 3): Promise<number[]> {
  const steps: number[] = []
  const onStep = ({ loss }: { readonly loss: number }) => void steps.push(loss)
  const intervals = await train(trainer, data, { totalEpochs, validation, onStep })
  return [...steps, ...intervals.map((interval) => interval.validation!.loss)]
}

/** The data, with a count of the batches that are read. */
function counted(of: Dataset): Dataset & { readonly reads: () => number } {
  let reads = 0
  return {
    length: of.length,
    batch: (indices, context) => {
      reads++
      return of.batch(indices, context)
    },
    reads: () => reads,
  }
}

const codeOf = (action: Promise<unknown>): Promise<unknown> =>
  action.then(
    () => 'accepted',
    (error) => (error instanceof OnnxIreError ? error.code : error),
  )

describe('features: cached', () => {
  const variants: [string, Partial<TrainerOptions>][] = [
    ['AdamW', {}],
    ['IRE with sampled curvature', { optimizer: ire(adamw({ lr: 1e-2 }), { kappa: 2, gamma: 0.6, interval: 2 }) }],
    ['micro-batches', { microBatch: 3 }],
    [
      'a fixed curvature batch',
      { optimizer: ire(adamw({ lr: 1e-2 }), { kappa: 2, gamma: 0.6, interval: 2 }), curvatureBatch: 'fixed' },
    ],
    ['a moving average', { ema: 0.9 }],
  ]
  it.each(variants)('trains as the whole model does: %s', async (_, options) => {
    const [whole, cached] = [
      await create({ ...head, ...options }),
      await create({ ...head, ...options, features: 'cached' }),
    ]
    const [expected, given] = [await losses(whole), await losses(cached)]
    expect(given.length).toBe(expected.length)
    for (const [i, loss] of expected.entries()) expect(Math.abs(given[i]! - loss)).toBeLessThan(1e-6)
    // The exported model is the whole one.
    const evaluated = await cached.evaluate(validation)
    expect(Math.abs(evaluated.loss - (await whole.evaluate(validation)).loss)).toBeLessThan(1e-6)
    expect(cached.export().proto.graph!.node.length).toBe(whole.export().proto.graph!.node.length)
  })

  it('trains a model whose file fixes the number of examples as one whose file does not', async () => {
    const points = clusters(16, [6])
    const random = new Random(4)
    const [v, w] = [normal(random, [6, 5]), normal(random, [5, 3])]
    const fixed = (examples: number | string) => {
      const x = input('x', 'float32', [examples, 6])
      const logits = op.MatMul(op.Tanh(op.MatMul(x, parameter('v', v))), parameter('w', w))
      return modelOf({ name: 'fixed', inputs: new Map([['x', x]]), outputs: new Map([['logits', logits]]) })
    }
    for (const batchSize of [4, 8]) {
      const [free, cached] = [
        await createTrainer({ ...head, batchSize }, fixed('N')),
        await createTrainer({ ...head, batchSize, features: 'cached' }, fixed(4)),
      ]
      const fit = { totalEpochs: 3, validation: points }
      const [expected, given] = [await train(free, points, fit), await train(cached, points, fit)]
      for (const [i, { loss, validation }] of expected.entries()) {
        expect(given[i]!.loss).toBeCloseTo(loss, 6)
        expect(given[i]!.validation!.loss).toBeCloseTo(validation!.loss, 6)
      }
      expect(await cached.evaluate(points)).toMatchObject({ count: 16 })
    }
  })

  it('stores features in files beyond the memory that they may take, and removes them', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'onnx-ire-features-'))
    try {
      const options = { ...head, batchSize: 8 }
      const memory = await create({ ...options, features: 'cached' })
      const files = await create({ ...options, features: featureFiles(folder, { memory: 300 }) })
      expect(await losses(files)).toEqual(await losses(memory))
      expect((await readdir(folder)).length).toBeGreaterThan(0)
      await files.dispose()
      expect(await readdir(folder)).toEqual([])
      const nowhere = await create({ ...options, features: featureFiles(join(folder, 'none'), { memory: 0 }) })
      expect(await codeOf(nowhere.train(data, { totalEpochs: 1 }))).toBe('io')
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('reads the data once', async () => {
    const [training, held] = [counted(data), counted(validation)]
    await train(await create({ ...head, features: 'cached' }), training, { totalEpochs: 5, validation: held })
    // One batch is read to detect augmentation.
    expect(training.reads()).toBe(1 + Math.ceil(data.length / 8))
    expect(held.reads()).toBe(Math.ceil(validation.length / 8))
  })

  it('trainers with the same frozen layers compute the features of the same data once, while one of them is in use', async () => {
    const training = counted(data)
    const start = (options: Partial<TrainerOptions> = {}, model = smallConvnet()) =>
      createTrainer({ ...head, features: 'cached', ...options }, model)
    /** Trains at the same time, and returns the losses of all steps and the number of batches read for features. */
    const trainAll = async (...trainers: readonly Trainer[]) => {
      const before = training.reads()
      const steps = trainers.map((): number[] => [])
      const runs = trainers.map((trainer, i) =>
        train(trainer, training, { totalEpochs: 2, onStep: ({ loss }) => void steps[i]!.push(loss) }),
      )
      await Promise.all(runs)
      // Every trainer reads one batch to detect augmentation.
      return { steps, reads: training.reads() - before - trainers.length }
    }
    const pass = Math.ceil(data.length / 8)
    const [first, second] = [await start(), await start({ optimizer: ire(adamw({ lr: 1e-2 }), { interval: 2 }) })]
    const together = await trainAll(first, second)
    expect(together.reads).toBe(pass)
    await first.dispose()
    const third = await start()
    expect(await trainAll(third)).toEqual({ steps: [together.steps[0]], reads: 0 })
    await Promise.all([second.dispose(), third.dispose()])
    expect(await trainAll(await start())).toEqual({ steps: [together.steps[0]], reads: pass })
    // Other batches and other weights may give other features.
    expect((await trainAll(await start({ batchSize: 7 }))).reads).toBe(Math.ceil(data.length / 7))
    const other = modelFrom(convnet({ channels: 2, stages: [4, 6], classes: 3, seed: 5 }))
    expect((await trainAll(await start({}, other))).reads).toBe(pass)
  })

  it('a trainer that is stopped while it computes features > another one computes them', async () => {
    const training = counted(data)
    const start = () => create({ ...head, features: 'cached' })
    const [first, second] = [await start(), await start()]
    const expected = await losses(await start(), 1)
    let aborted = false
    const signal = { get aborted() { return aborted } } // biome-ignore format: a getter
    const onFeatures = () => {
      aborted = true
    }
    const steps: number[] = []
    await Promise.all([
      train(first, training, { totalEpochs: 1, signal, onFeatures }),
      train(second, training, { totalEpochs: 1, onStep: ({ loss }) => void steps.push(loss) }),
    ])
    expect(first.step).toBe(0)
    expect(steps).toEqual(expected.slice(0, steps.length))
    expect(steps).toHaveLength(4)
  })

  it('reports every batch of the pass, and ends within it if aborted', async () => {
    const seen: string[] = []
    const onFeatures = ({ done, total }: { readonly done: number; readonly total: number }) =>
      void seen.push(`${done}/${total}`)
    const trainer = await create({ ...head, features: 'cached' })
    const training = counted(data)
    let aborted = false
    const options = { totalEpochs: 1, validation: counted(validation), signal: { get aborted() { return aborted } } } // biome-ignore format: a getter
    await train(trainer, training, {
      ...options,
      onFeatures: (progress) => {
        onFeatures(progress)
        aborted = true
      },
    })
    // One batch is read to detect augmentation, and one ahead.
    expect([seen.splice(0), trainer.step, training.reads()]).toEqual([['8/28'], 0, 3])
    aborted = false
    await train(trainer, training, { ...options, onFeatures })
    expect(seen).toEqual(['8/28', '16/28', '24/28', '28/28', '8/12', '12/12'])
    expect(trainer.step).toBe(4)
  })

  it('ends where frozen layers are first trained, also within an epoch', async () => {
    const freeze = { except: 'head', untilStep: 6 }
    const whole = await losses(await create({ freeze }))
    const training = counted(data)
    const cached = await create({ freeze, features: 'cached' })
    const given: number[] = []
    await train(cached, training, { totalEpochs: 3, onStep: ({ loss }) => void given.push(loss) })
    for (const [i, loss] of given.entries()) expect(Math.abs(loss - whole[i]!)).toBeLessThan(1e-5)
    // Steps 7 to 12 read images again, and one batch ahead at the end of an epoch is dropped.
    expect(training.reads()).toBe(1 + 4 + 2 + 4)
  })

  it('resumes to the same bits', async () => {
    const freeze = { except: 'head', untilEpoch: 2 }
    const options: Partial<TrainerOptions> = { freeze, features: 'cached', best: {} }
    const [whole, first, second] = [await create(options), await create(options), await create(options)]
    await train(whole, data, { totalEpochs: 3, validation })
    for (const stop of [3, 8]) {
      await train(first, data, {
        totalEpochs: 3,
        validation,
        onStep: ({ step }) => (step + 1 === stop ? 'stop' : undefined),
      })
      second.restore(first.checkpoint())
      await train(second, data, { totalEpochs: 3, validation })
      expect(flat(await second.parameters())).toEqual(flat(await whole.parameters()))
    }
  })

  it('refuses data and options that it cannot honor', async () => {
    expect(await codeOf(create({ features: 'cached' }))).toBe('invalid-option')
    expect(await codeOf(create({ features: 'disk' as never }))).toBe('invalid-option')
    const cached = await create({ ...head, features: 'cached' })
    const attempt = (of: Parameters<Trainer['train']>[0]) => codeOf(cached.train(of, { totalEpochs: 1 }))
    const noisy = augment(data, (batch, random) => ({
      ...batch,
      y: random.uniform() < 2 ? batch['x']! : batch['labels']!,
    }))
    expect(await attempt(noisy)).toBe('invalid-data')
    expect(await attempt(stream([{ x: new Float32Array(128), labels: 0n }]))).toBe('invalid-data')
    expect(await attempt(data)).toBe('accepted')
    const frozenNorms = { ...head, features: 'cached', batchNorm: 'trained' } as const
    expect(await codeOf(create(frozenNorms))).toBe('invalid-option')
    const later = { freeze: { except: 'head', untilEpoch: 1 }, batchNorm: 'trained' } as const
    expect(await codeOf(create({ ...later, features: 'cached' }))).toBe('accepted')
  })
})

it('the backward pass ends at the first trained layer', () => {
  const graph = importGraph(smallConvnet())
  const operators = (trainable: string) => {
    const { training, evaluation } = buildTrainingGraphs(graph, { loss: crossEntropy(), trainable })
    const forward = new Set(topological(evaluation.outputs.values()))
    return topological(training.outputs.values()).filter((node) => !forward.has(node))
  }
  const ofHead = operators('head.*')
  expect(ofHead.filter(({ operator }) => /Conv|Pool/.test(operator))).toEqual([])
  expect(ofHead.length).toBeLessThan(operators('*').length / 2)
})
