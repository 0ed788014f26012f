import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Random } from '../../src/data/index.js'
import { input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import {
  adamw,
  type CheckpointStore,
  crossEntropy,
  type Dataset,
  encodeModel,
  type FitOptions,
  fromArrays,
  ire,
  type Model,
  mse,
  OnnxIreError,
  type Runtime,
  type StepProgress,
  sam,
  sgd,
  type Trainer,
  type TrainerOptions,
} from '../../src/index.js'
import { checkpointFolder, node } from '../../src/node/index.js'
import { hostDevice } from '../backend/onnx/host-device.js'
import { rejectedError } from '../thrown.js'
import { memoryStore } from './memory-store.js'
import { clusters, flat, smallConvnet } from './problem.js'
import { startTrainers, train } from './small-trainer.js'

const { create } = startTrainers()

const points = clusters(40, [6])
const others = clusters(24, [6], 9)

const fitted = (trainer: Trainer, options: FitOptions, data = points) => train(trainer, data, options)

const codeOf = async (action: () => Promise<unknown>) => (await rejectedError(action)).code

describe('measureEvery', () => {
  const optimizer = ire(adamw({ lr: 1e-2 }), { kappa: 1, gamma: 0.5, interval: 2 })

  /** Runs seven steps, and returns the parameters after every step with the measures. */
  async function measured(options: Partial<TrainerOptions>, measureEvery?: number) {
    const trainer = await create({ optimizer, batchNorm: 'trained', ...options }, smallConvnet())
    const images = clusters(40, [2, 6, 6])
    const states = [await copyParameters(trainer)]
    const measures: StepProgress['tensors'][] = []
    await trainer.train(images, {
      totalSteps: 7,
      ...(measureEvery === undefined ? {} : { measureEvery }),
      async onStep({ tensors }) {
        measures.push(tensors)
        await trainer.sync()
        states.push(await copyParameters(trainer))
      },
    })
    return { states, measures }
  }
  // A clone of an array in shared memory would share it.
  const copyParameters = async (trainer: Trainer) =>
    Object.fromEntries(
      Object.entries(await trainer.parameters()).map(([name, array]) => [name, Float32Array.from(array)]),
    )
  const norm = (values: readonly number[]) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0))

  it('measures the tensors of these steps, and changes no result', async () => {
    const { states, measures } = await measured({}, 4)
    expect(measures.map((step) => step !== undefined)).toEqual([true, false, false, false, true, false, false])
    expect(states).toEqual((await measured({})).states)
    for (const step of [0, 4])
      for (const [name, { updateRatio, norm: before, gradientNorm }] of Object.entries(measures[step]!)) {
        const [u, v] = [states[step]![name]!, states[step + 1]![name]!]
        expect(before).toBeCloseTo(norm([...u]), 5)
        const ratio = norm([...v].map((x, i) => x - u[i]!)) / norm([...u])
        if (before > 0) expect(updateRatio! / ratio).toBeCloseTo(1, 4)
        else expect(updateRatio).toBeNull()
        expect(gradientNorm).toBeGreaterThan(0)
      }
    // The refresh of step 4 compares with the mask of step 2; step 0 has no mask before.
    expect(Object.values(measures[0]!).every(({ maskOverlap }) => maskOverlap === undefined)).toBe(true)
    expect(Object.values(measures[4]!).some(({ maskOverlap }) => maskOverlap! > 0 && maskOverlap! < 1)).toBe(true)
    const sizes = Object.entries(measures[4]!).map(([name, { flatShare }]) => [states[0]![name]!.length, flatShare!])
    const flatCount = sizes.reduce((sum, [length, share]) => sum + length! * share!, 0)
    const total = sizes.reduce((sum, [length]) => sum + length!, 0)
    expect(flatCount / total).toBeGreaterThanOrEqual(0.5)
    expect(flatCount / total).toBeLessThan(0.6)
    for (const { flatShare, enhancement } of Object.values(measures[4]!)) {
      // IRE adds kappa / (1 + kappa) of the update if all coordinates are flat, and nothing if none is.
      if (flatShare === 1) expect(enhancement).toBeCloseTo(0.5, 6)
      else expect(enhancement).toBeLessThan(0.5)
      if (flatShare === 0) expect(enhancement).toBe(0)
    }
  })

  it('measures the same on a device, in micro-batches and with SAM', async () => {
    const cpu = node({ threads: 1 })
    const device: Runtime = { ...cpu, device: hostDevice(cpu) }
    const options = { optimizer: sam(adamw({ lr: 1e-2 }), { rho: 0.05 }), batchNorm: 'frozen', microBatch: 3 } as const
    const [there, here] = [await measured({ ...options, runtime: device }, 3), await measured(options, 3)]
    for (const step of [0, 3, 6])
      for (const [name, expected] of Object.entries(here.measures[step]!)) {
        const { gradientNorm, norm: before, updateRatio, ...mask } = there.measures[step]![name]!
        expect(mask).toEqual({})
        expect(Math.abs(gradientNorm - expected.gradientNorm)).toBeLessThan(1e-4)
        expect(Math.abs(before - expected.norm)).toBeLessThan(1e-4)
        if (before > 0.01) expect(updateRatio! / expected.updateRatio!).toBeCloseTo(1, 2)
      }
    await cpu.dispose()
  })

  it('must be a positive integer', async () => {
    const trainer = await create()
    expect(await codeOf(() => trainer.train(points, { totalSteps: 1, measureEvery: 0 }))).toBe('invalid-option')
  })
})

describe('evaluation intervals', () => {
  it('end with an epoch, or after evaluateEvery steps across epochs', async () => {
    expect((await fitted(await create(), { totalEpochs: 2 })).map(({ step, epoch }) => [step, epoch])).toEqual([
      [5, 0],
      [10, 1],
    ])
    const rounds = await fitted(await create(), { totalEpochs: 2, evaluateEvery: 4, validation: others })
    expect(rounds.map(({ step, epoch, count }) => [step, epoch, count])).toEqual([
      [4, 0, 32],
      [8, 1, 32],
      [10, 1, 16],
    ])
    expect(rounds.map(({ validation }) => validation?.count)).toEqual([24, 24, 24])
  })

  it('have the same metrics after a resume within an interval', async () => {
    const whole = await fitted(await create(), { totalEpochs: 2 })
    const first = await create()
    const cut = await fitted(first, { totalEpochs: 2, onStep: ({ step }) => (step === 6 ? 'stop' : undefined) })
    expect(cut.map(({ step }) => step)).toEqual([5, 7])
    const second = await create()
    second.restore(first.checkpoint())
    const [rest] = await fitted(second, { totalEpochs: 2 })
    const { loss, accuracy, count, step } = whole[1]!
    expect(rest).toMatchObject({ loss, accuracy, count, step })
  })
})

describe('callbacks', () => {
  it('are awaited, and each can stop training', async () => {
    const seen: string[] = []
    const trainer = await create()
    await fitted(trainer, {
      totalEpochs: 3,
      validation: others,
      checkpoints: { store: memoryStore(), everySteps: 2 },
      onStep: async ({ step }) => {
        await new Promise((resolve) => setTimeout(resolve, 1))
        seen.push(`step ${step}`)
      },
      onEvaluate: ({ step, validation }) => {
        expect(validation!.count).toBe(24)
        seen.push(`evaluated ${step}`)
        return step === 10 ? 'stop' : undefined
      },
      onCheckpoint: (step) => seen.push(`saved ${step}`),
    })
    expect(trainer.step).toBe(10)
    expect(seen.filter((each) => !each.startsWith('saved'))).toEqual([
      ...[0, 1, 2, 3, 4].map((step) => `step ${step}`),
      'evaluated 5',
      ...[5, 6, 7, 8, 9].map((step) => `step ${step}`),
      'evaluated 10',
    ])
    expect(seen.filter((each) => each.startsWith('saved'))).toEqual([2, 4, 5, 6, 8, 10].map((step) => `saved ${step}`))
    const stopped = await create()
    await fitted(stopped, {
      totalEpochs: 3,
      checkpoints: { store: memoryStore(), everySteps: 2 },
      onCheckpoint: () => 'stop',
    })
    expect(stopped.step).toBe(4)
  })

  it('locks the store until training ends, also if it fails', async () => {
    const events: string[] = []
    const saved = memoryStore()
    const store: CheckpointStore = {
      ...saved,
      save: async (step, checkpoint) => {
        events.push(`save ${step}`)
        await saved.save(step, checkpoint)
      },
      lock: async () => {
        events.push('lock')
        return () => void events.push('unlock')
      },
    }
    const trainer = await create()
    await fitted(trainer, { totalSteps: 2, checkpoints: { store } })
    expect(events.splice(0)).toEqual(['lock', 'save 2', 'unlock'])
    const failing = () => {
      throw new Error('stopped by the test')
    }
    await expect(fitted(trainer, { totalSteps: 4, checkpoints: { store }, onStep: failing })).rejects.toThrow(
      /the test/,
    )
    expect(events.splice(0)).toEqual(['lock', 'unlock'])
    const full = { ...store, save: () => Promise.reject(new OnnxIreError('io', 'full')) }
    expect(await codeOf(() => fitted(trainer, { totalSteps: 6, checkpoints: { store: full } }))).toBe('io')
    expect(events.splice(0)).toEqual(['lock', 'unlock'])
  })

  it('throws the error of a step, not that of the write during it', async () => {
    const full = { ...memoryStore(), save: () => Promise.reject(new OnnxIreError('io', 'full')) }
    const failing = ({ step }: { readonly step: number }) => {
      if (step === 1) throw new Error('stopped by the test')
      return undefined
    }
    const options = { totalSteps: 4, checkpoints: { store: full, everySteps: 1 }, onStep: failing }
    await expect(fitted(await create(), options)).rejects.toThrow(/the test/)
  })

  it('trains no step if another run has locked the store', async () => {
    const lock = () => Promise.reject(new OnnxIreError('locked', 'another run'))
    const trainer = await create()
    const checkpoints = { store: { ...memoryStore(), lock } }
    expect(await codeOf(() => fitted(trainer, { totalSteps: 2, checkpoints }))).toBe('locked')
    expect(trainer.step).toBe(0)
  })

  it('can request a checkpoint', async () => {
    const [store, saved] = [memoryStore(), [] as number[]]
    await fitted(await create(), {
      totalSteps: 5,
      checkpoints: { store },
      // The last step of a round is saved in any case, and once.
      onStep: ({ step }) => (step === 1 || step === 4 ? 'save' : undefined),
      onCheckpoint: (step) => void saved.push(step),
    })
    expect(saved).toEqual([2, 5])
    const whole = await create()
    const other = await create()
    other.restore(store.saved.get(2)!)
    await fitted(whole, { totalSteps: 5 })
    await fitted(other, { totalSteps: 5 })
    expect(flat(await other.parameters())).toEqual(flat(await whole.parameters()))
    const nowhere = { code: 'invalid-option', message: expect.stringMatching(/'save'.*checkpoints/) }
    await expect(fitted(await create(), { totalSteps: 5, onStep: () => 'save' })).rejects.toMatchObject(nowhere)
  })
})

describe('the best weights', () => {
  it('are those of the best evaluation, also after a resume', async () => {
    const trainer = await create({ best: { metric: 'loss' }, optimizer: adamw({ lr: 0.3 }) })
    const exported: Model[] = []
    const rounds = await fitted(trainer, {
      totalEpochs: 6,
      validation: others,
      onEvaluate: () => exported.push(trainer.export()),
    })
    const losses = rounds.map(({ validation }) => validation!.loss)
    const best = losses.indexOf(Math.min(...losses))
    expect(best).toBeLessThan(5)
    const model = encodeModel(trainer.export({ weights: 'best' }))
    expect(Buffer.compare(model, encodeModel(exported[best]!))).toBe(0)
    const resumed = await create({ best: { metric: 'loss' }, optimizer: adamw({ lr: 0.3 }) })
    resumed.restore(trainer.checkpoint())
    expect(Buffer.compare(encodeModel(resumed.export({ weights: 'best' })), model)).toBe(0)
    expect((await trainer.evaluate(others, { weights: 'best' })).loss).toBe(losses[best])
  })

  it('end training early without improvement, also after a resume', async () => {
    const trainer = await create({ earlyStopping: { patience: 2 }, optimizer: sgd({ lr: 0 }) })
    const rounds = await fitted(trainer, { totalEpochs: 9, validation: others })
    // The first is the best; two more are not better.
    expect(rounds).toHaveLength(3)
    const resumed = await create({ earlyStopping: { patience: 2 }, optimizer: sgd({ lr: 0 }) })
    resumed.restore(trainer.checkpoint())
    expect(resumed.isFinished({ totalEpochs: 9 })).toBe(true)
    expect(await codeOf(() => fitted(resumed, { totalEpochs: 9, validation: others }))).toBe('invalid-option')
    expect(resumed.step).toBe(trainer.step)
  })

  it('need validation data, and a metric that exists', async () => {
    expect(await codeOf(async () => fitted(await create({ best: {} }), { totalEpochs: 1 }))).toBe('invalid-option')
    expect(await codeOf(() => create({ best: { metric: 'accuracies' } }))).toBe('invalid-option')
    expect(await codeOf(async () => (await create()).export({ weights: 'ema' }))).toBe('invalid-option')
  })
})

describe('the moving average', () => {
  it('is e = d e + (1 - d) theta after every step, and is used by validation', async () => {
    const decay = 0.7
    const trainer = await create({ ema: decay })
    let expected = flat(await trainer.parameters())
    const rounds = await fitted(trainer, {
      totalEpochs: 2,
      validation: others,
      onStep: async () => {
        expected = flat(await trainer.parameters()).map((theta, i) => decay * expected[i]! + (1 - decay) * theta)
      },
    })
    const averaged = await create({}, trainer.export({ weights: 'ema' }))
    for (const [i, value] of flat(await averaged.parameters()).entries()) expect(value).toBeCloseTo(expected[i]!, 5)
    expect(rounds.at(-1)!.validation).toEqual(await averaged.evaluate(others))
    expect(rounds.at(-1)!.validation).not.toEqual(await trainer.evaluate(others))
  })
})

describe('a plateau schedule', () => {
  it('lowers the learning rate when validation stops improving, also across a resume', async () => {
    const options = {
      optimizer: sgd({ lr: 1e-9 }),
      schedule: { kind: 'plateau', factor: 0.5, patience: 1, threshold: 0.1 } as const,
    }
    const trainer = await create(options)
    const rounds = await fitted(trainer, { totalEpochs: 4, validation: others })
    expect(rounds.map(({ lr }) => lr * 1e9)).toEqual([1, 1, 1, 0.5].map((x) => expect.closeTo(x, 9)))
    const resumed = await create(options)
    resumed.restore(trainer.checkpoint())
    const more = await fitted(resumed, { totalEpochs: 6, validation: others })
    expect(more.map(({ lr }) => lr * 1e9)).toEqual([0.5, 0.25].map((x) => expect.closeTo(x, 9)))
  })
})

describe('a folder of checkpoints', () => {
  let folder = ''
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'checkpoints-'))
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  const settings = {
    optimizer: ire(adamw({ lr: 1e-2 }), { kappa: 2, gamma: 0.8, interval: 3, beta: 0.5 }),
    best: {},
    ema: 0.9,
  }

  it('keeps the newest few, and a run continues from them bit for bit', async () => {
    const whole = await create(settings)
    await fitted(whole, { totalEpochs: 3, validation: others })
    const path = join(folder, 'of a', 'run')
    const first = await create(settings)
    await fitted(first, {
      totalEpochs: 3,
      validation: others,
      checkpoints: { store: checkpointFolder(path, { keep: 2 }), everySteps: 1 },
      onStep: ({ step }) => (step === 7 ? 'stop' : undefined),
    })
    expect((await readdir(path)).sort()).toEqual(['checkpoint-00000007.safetensors', 'checkpoint-00000008.safetensors'])
    const second = await create(settings)
    expect(await second.resume(checkpointFolder(path))).toEqual({ step: 8, skipped: [] })
    await fitted(second, { totalEpochs: 3, validation: others })
    for (const weights of ['last', 'ema', 'best'] as const)
      expect(Buffer.compare(encodeModel(second.export({ weights })), encodeModel(whole.export({ weights })))).toBe(0)
  })

  it('skips damaged checkpoints, and throws if all are damaged', async () => {
    const store = checkpointFolder(folder)
    const trainer = await create(settings)
    await fitted(trainer, { totalSteps: 6, validation: others, checkpoints: { store, everySteps: 2 } })
    expect(await store.steps()).toEqual([6, 5, 4])
    const newest = join(folder, 'checkpoint-00000006.safetensors')
    const bytes = await readFile(newest)
    bytes[bytes.length - 9]! ^= 4
    await writeFile(newest, bytes)
    await writeFile(join(folder, 'checkpoint-00000005.safetensors'), '')
    const other = await create(settings)
    const found = await other.resume(store)
    expect(found).toMatchObject({ step: 4, skipped: [{ step: 6 }, { step: 5 }] })
    expect(found!.skipped[0]!.error.message).toMatch('checksum')
    expect(other.step).toBe(4)
    await writeFile(join(folder, 'checkpoint-00000004.safetensors'), bytes.subarray(0, 1000))
    expect(await codeOf(() => other.resume(store))).toBe('damaged')
    expect(other.step).toBe(4)
    expect(await other.resume(checkpointFolder(join(folder, 'nothing')))).toBeNull()
    const different = await create({ ...settings, ema: 0.8 })
    const own = memoryStore()
    await own.save(1, trainer.checkpoint())
    expect(await codeOf(() => different.resume(own))).toBe('checkpoint')
  })

  it('throws if it cannot be written', async () => {
    await writeFile(join(folder, 'file'), '')
    const trainer = await create()
    const store = checkpointFolder(join(folder, 'file'))
    expect(await codeOf(() => fitted(trainer, { totalEpochs: 1, checkpoints: { store } }))).toBe('io')
  })
})

describe('gradient accumulation', () => {
  it('equals the whole batch, with ignored labels and class weights, to 1e-6', async () => {
    const loss = crossEntropy({ ignoreIndex: 2, classWeights: [1, 3, 1], labelSmoothing: 0.1 })
    const optimizer = sgd({ lr: 0.1, momentum: 0.9 })
    const whole = await create({ loss, optimizer })
    await fitted(whole, { totalEpochs: 2 })
    for (const microBatch of [1, 3, 4]) {
      const parts = await create({ loss, optimizer, microBatch })
      const rounds = await fitted(parts, { totalEpochs: 2 })
      const expected = flat(await whole.parameters())
      const scale = Math.max(...expected.map(Math.abs))
      for (const [i, value] of flat(await parts.parameters()).entries())
        expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-6 * scale)
      expect(rounds).toHaveLength(2)
    }
  })

  it('convolutions with SAM and IRE > have the parameters of whole batches', async () => {
    const images = clusters(24, [2, 6, 6])
    const optimizer = ire(sgd({ lr: 0.05 }), { kappa: 1, gamma: 0.9, interval: 2, curvature: 'hutchinson' })
    const whole = await create({ optimizer }, smallConvnet())
    const parts = await create({ optimizer, microBatch: 3 }, smallConvnet())
    await fitted(whole, { totalEpochs: 1 }, images)
    await fitted(parts, { totalEpochs: 1 }, images)
    const expected = flat(await whole.parameters())
    for (const [i, value] of flat(await parts.parameters()).entries()) expect(value).toBeCloseTo(expected[i]!, 4)
  })
})

describe('a share of the batch for the curvature', () => {
  /** The thresholds of two steps on random examples, and those of the first `rows` examples of every batch. */
  const thresholds = async (options: Partial<TrainerOptions>, rows: number, dim: string | number = 'N') => {
    const x = new Random(4).fill(new Float32Array(24 * 3), 'normal')
    const expected: number[] = []
    const data: Dataset = {
      length: 24,
      batch: (indices) => {
        const chosen = Float32Array.from(Array.from(indices).flatMap((i) => [...x.subarray(3 * i, 3 * i + 3)]))
        // The Hessian is diagonal, so v * Hv is the mean of 2 x^2 / 3 for any v.
        const mean = (j: number) =>
          Array.from({ length: rows }, (_, i) => (2 * chosen[3 * i + j]! ** 2) / 3).reduce((a, b) => a + b) / rows
        expected.push(Math.max(mean(0), mean(1), mean(2)))
        const tensor = { dtype: 'float32' as const, dims: [indices.length, 3], data: chosen }
        return { x: tensor, targets: tensor }
      },
    }
    const leaf = input('x', 'float32', [dim, 3])
    const w = parameter('w', tensor('float32', [3], Float32Array.of(1, 2, 3)))
    const model = modelOf({
      name: 'scales',
      inputs: new Map([['x', leaf]]),
      outputs: new Map([['y', op.Mul(leaf, w)]]),
    })
    const optimizer = ire(sgd({ lr: 0 }), { kappa: 1, gamma: 1, interval: 1, curvature: 'hutchinson' })
    const trainer = await create({ optimizer, loss: mse(), trainable: 'w', batchSize: 8, ...options }, model)
    const seen: number[] = []
    await fitted(trainer, { totalSteps: 2, onStep: ({ threshold }) => void seen.push(threshold!) }, data)
    return { seen, expected: expected.slice(0, 2) }
  }
  const expectEqual = ({ seen, expected }: { seen: number[]; expected: number[] }) => {
    for (const [i, threshold] of expected.entries()) expect(seen[i]).toBeCloseTo(threshold, 5)
  }

  it('is that of the first examples, rounded, and at least one', async () => {
    expectEqual(await thresholds({}, 8))
    expectEqual(await thresholds({ curvatureShare: 0.5 }, 4))
    expectEqual(await thresholds({ curvatureShare: 0.2 }, 2))
    expectEqual(await thresholds({ curvatureShare: 0.001 }, 1))
  })
  it('is divided into micro-batches', async () => {
    expectEqual(await thresholds({ curvatureShare: 0.6, microBatch: 2 }, 5))
  })
  it('is a multiple of the number of examples that the file fixes', async () => {
    expectEqual(await thresholds({ curvatureShare: 0.5 }, 4, 2))
    expectEqual(await thresholds({ curvatureShare: 0.1 }, 2, 2))
    expectEqual(await thresholds({ curvatureShare: 0.1 }, 8, 8))
  })
  it('is a quarter by default for sampled curvature, with trained norms at least 8 examples, the whole batch if it is fixed', async () => {
    const run = async (options: Partial<TrainerOptions>, [model, dims]: [Model | undefined, number[]]) => {
      const optimizer = ire(sgd({ lr: 0.1 }), { kappa: 1, interval: 1 })
      const trainer = await create({ optimizer, ...options }, model)
      const thresholds: number[] = []
      await fitted(
        trainer,
        { totalSteps: 3, onStep: ({ threshold }) => void thresholds.push(threshold!) },
        clusters(40, dims),
      )
      return thresholds
    }
    const plain: [undefined, number[]] = [undefined, [6]]
    const normed: [Model, number[]] = [smallConvnet(), [2, 8, 8]]
    const quarter = await run({}, plain)
    expect(quarter).toEqual(await run({ curvatureShare: 0.25 }, plain))
    expect(quarter).not.toEqual(await run({ curvatureShare: 1 }, plain))
    expect(await run({ curvatureBatch: 'fixed' }, plain)).toEqual(
      await run({ curvatureBatch: 'fixed', curvatureShare: 1 }, plain),
    )
    const frozen = await run({}, normed)
    expect(frozen).toEqual(await run({ curvatureShare: 0.25 }, normed))
    const trained = (batchSize: number, curvatureShare?: number) =>
      run({ batchNorm: 'trained', batchSize, ...(curvatureShare && { curvatureShare }) }, normed)
    expect(await trained(8)).toEqual(await trained(8, 1))
    const half = await trained(16)
    expect(half).toEqual(await trained(16, 0.5))
    expect(half).not.toEqual(await trained(16, 1))
  })
  it('rejects shares outside (0, 1]', async () => {
    for (const curvatureShare of [0, -1, 1.5, Number.NaN])
      await expect(create({ curvatureShare })).rejects.toMatchObject({
        code: 'invalid-option',
        message: expect.stringContaining('curvatureShare'),
      })
  })
})

describe('a fixed curvature batch', () => {
  it('is used by every refresh; without it, the batch of the step is used', async () => {
    const random = new Random(4)
    const x = { dims: [40, 3], data: random.fill(new Float32Array(120), 'normal') }
    const data = fromArrays({ x, targets: x })
    const leaf = input('x', 'float32', ['N', 3])
    const w = parameter('w', tensor('float32', [3], Float32Array.of(1, 2, 3)))
    const model = modelOf({
      name: 'scales',
      inputs: new Map([['x', leaf]]),
      outputs: new Map([['y', op.Mul(leaf, w)]]),
    })
    // The Hessian is diagonal, so v * Hv is the batch's mean of 2 x^2 / 3 for any v, and a rate of 0 changes nothing.
    const optimizer = ire(sgd({ lr: 0 }), { kappa: 1, gamma: 0.5, interval: 1, curvature: 'hutchinson' })
    const thresholds = async (curvatureBatch: 'fixed' | 'step') => {
      const trainer = await create({ optimizer, curvatureBatch, loss: mse(), trainable: 'w' }, model)
      const seen = new Set<number | null>()
      await fitted(trainer, { totalSteps: 4, onStep: ({ threshold }) => seen.add(threshold) }, data)
      return seen.size
    }
    expect([await thresholds('fixed'), await thresholds('step')]).toEqual([1, 4])
  })
})
