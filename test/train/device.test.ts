import { afterAll, describe, expect, it } from 'vitest'
import {
  adamw,
  crossEntropy,
  type IntervalMetrics,
  ire,
  type Runtime,
  sam,
  sgd,
  Trainer,
  type TrainerOptions,
} from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { hostDevice } from '../backend/onnx/host-device.js'
import { clusters, flat, smallConvnet, smallMlp } from './problem.js'

const cpu = node({ threads: 1 })
/** The CPU runtime with training state on a device, updated by graphs. */
const device: Runtime = { ...cpu, device: hostDevice(cpu) }
afterAll(() => cpu.dispose())

const points = clusters(40, [6])

type Options = Partial<TrainerOptions> & { readonly model?: ReturnType<typeof smallMlp>; readonly data?: typeof points }

async function run(runtime: Runtime, { model = smallMlp(), data = points, ...options }: Options) {
  const common = { loss: crossEntropy(), optimizer: adamw({ lr: 1e-2 }), batchSize: 8 }
  const trainer = await Trainer.create(model, { ...common, ...options, runtime })
  const rounds: IntervalMetrics[] = []
  for await (const round of trainer.fit(data, { totalEpochs: 10, validation: data })) rounds.push(round)
  await trainer.sync()
  const result = { rounds, parameters: flat(await trainer.parameters()), step: trainer.step }
  await trainer.dispose()
  return result
}

const enhanced = ire(sam(adamw({ lr: 1e-2 }), { rho: 0.05 }), {
  kappa: 1,
  gamma: 0.7,
  interval: 3,
  curvature: 'empirical',
})
const momentum = (weightDecay = 0) => sgd({ lr: 0.1, momentum: 0.9, weightDecay })
const cases: Readonly<Record<string, Options>> = {
  'of 50 steps of AdamW': {},
  'of SGD with momentum, clipped': { optimizer: sgd({ lr: 0.05, momentum: 0.9 }), clipNorm: 1, clipValue: 0.2 },
  'of SAM and IRE': { optimizer: enhanced },
  'in micro-batches, with an average of the weights': { microBatch: 3, ema: 0.9 },
  'of norms that are trained too': { model: smallConvnet(), data: clusters(24, [2, 6, 6]), batchNorm: 'trained' },
}

describe('a trainer with its state on a device resumes bit for bit', () => {
  const images = clusters(35, [2, 8, 8])
  it.each<[string, Partial<TrainerOptions>]>([
    ['with SAM and tensors without weight decay', { optimizer: sam(momentum(0.01)), decayVectors: false }],
    [
      'clipped, with tensors that are frozen at first',
      { optimizer: momentum(), clipNorm: 0.1, freeze: { except: 'head', untilStep: 2 } },
    ],
  ])('%s', async (_, options) => {
    const resumed = async (from?: Uint8Array) => {
      const common = { loss: crossEntropy(), batchSize: 8, runtime: device }
      const trainer = await Trainer.create(smallConvnet(), { ...common, ...options } as TrainerOptions)
      if (from) trainer.restore(from)
      const saved: Uint8Array[] = []
      const onStep = async () => {
        await trainer.sync()
        saved.push(trainer.checkpoint())
      }
      await trainer.train(images, { totalSteps: 8, onStep })
      const weights = flat(await trainer.parameters())
      await trainer.dispose()
      return { weights, saved }
    }
    const { weights, saved } = await resumed()
    expect(saved).toHaveLength(8)
    for (const checkpoint of saved.slice(0, -1)) expect((await resumed(checkpoint)).weights).toEqual(weights)
  })
})

it('a device without a training backend > the state is in host arrays', async () => {
  const { createBackend: _, ...plain } = hostDevice(cpu)
  const create = (runtime: Runtime) => Trainer.create(smallMlp(), { loss: crossEntropy(), optimizer: adamw(), runtime })
  const trainers = [await create({ ...cpu, device: plain }), await create(cpu)]
  for (const trainer of trainers) await trainer.train(clusters(32, [6]), { totalEpochs: 1 })
  const [there, here] = await Promise.all(trainers.map((trainer) => trainer.parameters()))
  expect(there).toEqual(here)
})

describe('a trainer with its state on a device has the results of a trainer on host arrays', () => {
  it.each(Object.entries(cases))('%s', async (_, options) => {
    const [there, here] = [await run(device, options), await run(cpu, options)]
    expect(there.step).toBe(here.step)
    there.rounds.forEach(({ loss, validation }, i) => {
      expect(Math.abs(loss - here.rounds[i]!.loss)).toBeLessThan(1e-5)
      expect(Math.abs(validation!.loss - here.rounds[i]!.validation!.loss)).toBeLessThan(1e-5)
    })
    const worst = there.parameters.map((x, i) => Math.abs(x - here.parameters[i]!) / Math.max(0.1, Math.abs(x)))
    expect(Math.max(...worst)).toBeLessThan(1e-4)
  })
})
