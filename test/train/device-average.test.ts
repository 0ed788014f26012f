import { afterAll, describe, expect, it } from 'vitest'
import { adamw, crossEntropy, decodeModel, encodeModel, namedTensors, type Runtime, Trainer } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import type { ParameterArrays } from '../../src/optim/arrays.js'
import type { Device, DeviceTensor } from '../../src/runtime/device.js'
import { OnnxIreError } from '../../src/util/errors.js'
import { hostDevice } from '../backend/onnx/host-device.js'
import { webgpu } from '../node/webgpu.js'
import { type Needs, needs } from '../requirements.js'
import { clusters, smallConvnet, smallMlp } from './problem.js'

const cpu = node({ threads: 1 })
afterAll(() => cpu.dispose())
const gpuNeeded = await needs('webgpu')

const ema = 0.9
/** 5 steps an epoch. */
const points = clusters(40, [6])
const epochs = 10

async function trainerOn(runtime: Runtime, checkpoint?: Uint8Array): Promise<Trainer> {
  const optimizer = adamw({ lr: 1e-2 })
  const trainer = await Trainer.create(smallMlp(), { loss: crossEntropy(), optimizer, runtime, ema, batchSize: 8 })
  if (checkpoint) trainer.restore(checkpoint)
  return trainer
}

const averageOf = (trainer: Trainer): Record<string, Float32Array> =>
  Object.fromEntries(
    [...namedTensors(decodeModel(encodeModel(trainer.export({ weights: 'ema' }))))].map(([name, { data }]) => [
      name,
      data as Float32Array,
    ]),
  )

/** The final parameters of a run and their average. */
async function ended(trainer: Trainer, until = epochs, onStep?: () => unknown) {
  const losses: number[] = []
  const options = { totalEpochs: until, validation: points, ...(onStep ? { onStep } : {}) }
  for await (const { validation } of trainer.fit(points, options)) losses.push(validation!.loss)
  const parameters = Object.fromEntries(
    Object.entries(await trainer.parameters()).map(([name, x]) => [name, x.slice()]),
  )
  const result = { parameters, average: averageOf(trainer), losses, checkpoint: trainer.checkpoint() }
  await trainer.dispose()
  return result
}

function worst(got: ParameterArrays, wanted: ParameterArrays): number {
  expect(Object.keys(got)).toEqual(Object.keys(wanted))
  const off = Object.entries(wanted).flatMap(([name, array]) =>
    Array.from(array, (x, i) => Math.abs(got[name]![i]! - x) / Math.max(0.1, Math.abs(x))),
  )
  return Math.max(...off)
}

const places: readonly [string, () => Runtime, number, Partial<Needs>][] = [
  ['a device made of the CPU', () => ({ ...cpu, device: hostDevice(cpu) }), 1e-5, {}],
  ["Node's WebGPU", () => webgpu(), 1e-3, gpuNeeded],
]

describe.each(places)('the average of the weights on %s', (_, start, tolerance, needed) => {
  const open: Runtime[] = []
  const runtime = () => {
    open[0] ??= start()
    return open[0]
  }
  afterAll(async () => {
    for (const each of open) if (each.provider === 'webgpu') await each.dispose()
  })

  it('equals that of a run on host arrays after 50 steps, and so does its validation', needed, async () => {
    const [there, here] = [await ended(await trainerOn(runtime())), await ended(await trainerOn(cpu))]
    expect(worst(there.average, here.average)).toBeLessThan(tolerance)
    expect(there.losses).toEqual(here.losses.map((loss) => expect.closeTo(loss, tolerance === 1e-5 ? 5 : 3)))
    expect(worst(here.average, here.parameters)).toBeGreaterThan(100 * tolerance)
  })

  it(
    'is the average of the parameters of all steps, to 1e-5, and a sync at every step changes nothing',
    needed,
    async () => {
      const trainer = await trainerOn(runtime())
      const plain = Object.fromEntries(
        Object.entries(await trainer.parameters()).map(([name, x]) => [name, Float64Array.from(x)]),
      )
      const followed = await ended(trainer, epochs, async () => {
        await trainer.sync()
        for (const [name, array] of Object.entries(await trainer.parameters()))
          plain[name]!.forEach((x, i, own) => {
            own[i] = ema * x + (1 - ema) * array[i]!
          })
      })
      expect(worst(followed.average, plain)).toBeLessThan(1e-5)
      const { average, parameters } = await ended(await trainerOn(runtime()))
      expect({ average, parameters }).toEqual({ average: followed.average, parameters: followed.parameters })
    },
  )

  it('continues from a checkpoint bit for bit', needed, async () => {
    const whole = await ended(await trainerOn(runtime()))
    const { checkpoint } = await ended(await trainerOn(runtime()), 4)
    const resumed = await ended(await trainerOn(runtime(), checkpoint))
    expect(resumed.average).toEqual(whole.average)
    expect(resumed.checkpoint).toEqual(whole.checkpoint)
  })
})

it('is not downloaded at a step', async () => {
  const device = hostDevice(cpu)
  let elements = 0
  const counting: Device = {
    ...device,
    download: async (tensor) => {
      elements += tensor.dims.reduce((a, b) => a * b, 1)
      return device.download(tensor)
    },
  }
  const trainer = await trainerOn({ ...cpu, device: counting })
  const perStep: number[] = []
  for await (const _ of trainer.fit(points, { totalSteps: 5, onStep: () => void perStep.push(elements) }));
  const parameters = Object.values(await trainer.parameters()).reduce((sum, { length }) => sum + length, 0)
  // A step brings the sums of squares of its bundles; the end of the round parameters, moments and averages.
  expect(perStep.map((n, i) => n - (perStep[i - 1] ?? 0)).slice(1)).toEqual([1, 1, 1, 1])
  expect(elements - perStep[4]!).toBe(4 * parameters)
  await trainer.dispose()
})

it('is complete in calls that are not awaited', async () => {
  const run = async (asks: boolean) => {
    const trainer = await trainerOn({ ...cpu, device: hostDevice(cpu) })
    const asked: Promise<unknown>[] = []
    const onStep = () => {
      if (asks) asked.push(trainer.sync(), trainer.evaluate(points, { weights: 'ema' }), trainer.evaluate(points))
    }
    const result = await ended(trainer, 2, onStep)
    return { ...result, measured: await Promise.all(asked) }
  }
  const [asking, quiet] = [await run(true), await run(false)]
  expect(asking.measured).toHaveLength(30)
  expect({ ...asking, measured: [] }).toEqual(quiet)
})

it('includes the running statistics of trained norms', async () => {
  const data = clusters(24, [2, 6, 6])
  const run = async (runtime: Runtime) => {
    const common = { loss: crossEntropy(), optimizer: adamw({ lr: 1e-2 }), batchSize: 8, ema, runtime }
    const trainer = await Trainer.create(smallConvnet(), { ...common, batchNorm: 'trained' })
    for await (const _ of trainer.fit(data, { totalEpochs: 4 }));
    const result = { average: averageOf(trainer), loss: (await trainer.evaluate(data, { weights: 'ema' })).loss }
    await trainer.dispose()
    return result
  }
  const [there, here] = [await run({ ...cpu, device: hostDevice(cpu) }), await run(cpu)]
  expect(worst(there.average, here.average)).toBeLessThan(1e-5)
  expect(there.loss).toBeCloseTo(here.loss, 5)
})

/** A device that is lost at some runs, together with its tensors. */
function losing(at: readonly number[]): Device {
  const device = hostDevice(cpu)
  const lost = () => new OnnxIreError('device-lost', 'the device was lost')
  let [runs, life, here] = [0, 0, true]
  const births = new WeakMap<DeviceTensor, number>()
  const born = <T extends DeviceTensor>(tensor: T): T => {
    births.set(tensor, life)
    return tensor
  }
  const check = (tensors: readonly unknown[]) => {
    if (!here) throw lost()
    for (const tensor of tensors)
      if (births.has(tensor as DeviceTensor)) expect(births.get(tensor as DeviceTensor)).toBe(life)
  }
  return {
    ...device,
    async compile(model, keepOnDevice) {
      check([])
      const program = await device.compile(model, keepOnDevice)
      const compiledIn = life
      const run: typeof program.run = async (feeds) => {
        if (at.includes(++runs)) here = false
        check(Object.values(feeds))
        expect(compiledIn).toBe(life)
        const outputs = await program.run(feeds)
        Object.values(outputs.device).forEach(born)
        return outputs
      }
      return { ...program, run }
    },
    upload: async (tensor) => {
      check([])
      return born(await device.upload(tensor))
    },
    download: async (tensor) => {
      check([tensor])
      return device.download(tensor)
    },
    recover: async () => {
      life++
      here = true
    },
  }
}

it('is unchanged by a lost device, at any point of a step', async () => {
  const whole = await ended(await trainerOn({ ...cpu, device: hostDevice(cpu) }), 3)
  // A step runs three programs: gradients, update, average.
  for (const at of [[8], [9], [10], [17, 40]]) {
    const lostAt: number[] = []
    const trainer = await trainerOn({ ...cpu, device: losing(at) })
    for await (const _ of trainer.fit(points, { totalEpochs: 3, onDeviceLost: (step) => void lostAt.push(step) }));
    expect(lostAt.length).toBe(at.length)
    expect(averageOf(trainer)).toEqual(whole.average)
    expect(await trainer.parameters()).toEqual(whole.parameters)
    await trainer.dispose()
  }
})
