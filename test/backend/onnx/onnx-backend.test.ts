import { afterAll, describe, expect, test } from 'vitest'
import { runStep, takeStep } from '../../../src/backend/step.js'
import { node } from '../../../src/node/index.js'
import { adamw } from '../../../src/optim/adam.js'
import type { ParameterArrays } from '../../../src/optim/arrays.js'
import { ire } from '../../../src/optim/ire/ire.js'
import { sam } from '../../../src/optim/sam.js'
import { sgd } from '../../../src/optim/sgd.js'
import { cloneState, initialState } from '../../../src/optim/state.js'
import type { Device, DeviceTensor } from '../../../src/runtime/device.js'
import { bases, createOptimizer, ireOptions, pairwiseOptimizers, samVariants } from '../../optim/optimizers.js'
import { gradientOf, settings, split, start } from '../../optim/problem.js'
import {
  agree,
  answers,
  createOnnxBackend,
  deviceStep,
  downloaded,
  loadedBackend,
  unchanged,
  uploaded,
} from './device-run.js'
import { hostDevice } from './host-device.js'

const runtime = node({ threads: 1, worker: false })
const device = hostDevice(runtime)
afterAll(() => runtime.dispose())

const pairwise = pairwiseOptimizers()

describe('50 steps by graphs on a device > equal the host to 1e-5', () => {
  const ends = new Set<string>()
  for (const [name, spec] of pairwise)
    test(name, async () => {
      ends.add(await agree(device, createOptimizer(spec)))
    })
  test('all optimizers > end of the trajectory > differs for each', () => {
    expect(ends.size).toBe(pairwise.length)
  })
})

/** Settings, warm-ups and refreshes of the mask all begin by step 10. */
const steps = 20

describe(`${steps} steps by graphs on a device > equal the host to 1e-5`, () => {
  for (const [name, base] of Object.entries(bases))
    test(`${name} > clipping by value and norm`, async () => {
      const optimizer = createOptimizer({ base, sam: { rho: 0.1 }, ire: ireOptions })
      for (const clips of [{ clipNorm: 3 }, { clipValue: 0.4 }, { clipValue: 0.4, clipNorm: 1 }, { clipNorm: 1e30 }])
        await agree(device, optimizer, clips, steps)
    })
  for (const [name, spec] of pairwise)
    test(`${name} > per-parameter settings`, async () => {
      await agree(device, createOptimizer(spec), { settings, clipNorm: 2, clipValue: 1 }, steps)
    })
})

describe('friendly SAM and LookSAM by graphs on a device > 50 steps > equal the host', () => {
  for (const [name, variant] of Object.entries(samVariants))
    for (const [base, around] of [
      ['adamw', {}],
      ['sgd with momentum', { ire: ireOptions }],
      ['prodigy', {}],
    ] as const) {
      const optimizer = createOptimizer({ base: bases[base]!, sam: variant, ...around })
      // LookSAM lengthens a small difference of two gradients, with its rounding.
      const within = name === 'look' ? 2e-4 : undefined
      test(`${base}, ${name}`, async () => {
        await agree(device, optimizer, {}, 50, within)
      })
      test(`${base}, ${name} > clipping and settings`, async () => {
        await agree(device, optimizer, { settings, clipNorm: 2, clipValue: 1 }, 50, within)
      })
    }
  for (const [name, variant] of Object.entries(samVariants))
    test(`${name} > non-finite gradient > changes nothing`, async () => {
      await unchanged(device, Number.NaN, { ...variant, ...(name === 'look' ? { interval: 2 } : {}) })
    })
})

test('device memory > 50 steps > the number of tensors is constant, and 0 after dispose', async () => {
  const live = new Set<DeviceTensor>()
  const counted = <T extends DeviceTensor>(tensor: T): T => {
    const { release } = tensor
    live.add(tensor)
    return Object.assign(tensor, {
      release() {
        live.delete(tensor)
        release.call(tensor)
      },
    })
  }
  const counting: Device = {
    compile: async (model, keepOnDevice) => {
      const program = await device.compile(model, keepOnDevice)
      const run: typeof program.run = async (feeds) => {
        const outputs = await program.run(feeds)
        Object.values(outputs.device).forEach(counted)
        return outputs
      }
      return { ...program, run }
    },
    upload: async (tensor) => counted(await device.upload(tensor)),
    download: (tensor) => device.download(tensor),
  }
  const optimizer = ire(sam(adamw({ lr: 0.03 })), { ...ireOptions, warmup: 0, beta: 0.5 })
  const parameters = split(start, Float32Array)
  const backend = await loadedBackend(counting, optimizer, parameters, initialState(optimizer, parameters))
  const counts: number[] = []
  for (let t = 0; t < 50; t++) {
    await deviceStep(counting, backend, optimizer, t, answers(optimizer, { settings })(t), {
      settings,
      clipNorm: 1,
    })
    if (t === 11 || t === 20 || t === 49) counts.push(live.size)
  }
  // Parameters, bundles, what the last step measured, the mask with its F.
  expect(counts).toEqual([counts[0], counts[0], counts[0]])
  expect(counts[0]).toBeLessThan(30)
  await backend.load({ parameters, optimizer: initialState(optimizer, parameters) })
  await backend.dispose()
  expect(live.size).toBe(0)
})

test('non-finite loss > rejects with the tensor that has a non-finite gradient', async () => {
  const optimizer = sgd({ lr: 0.1 })
  const parameters = split(start, Float32Array)
  const backend = await loadedBackend(device, optimizer, parameters, initialState(optimizer, parameters))
  const gradients = split(gradientOf(start), Float32Array)
  gradients['bias']![2] = Number.NaN
  const step = deviceStep(device, backend, optimizer, 0, () => ({ gradients, loss: Number.NaN }), {})
  await expect(step).rejects.toThrow("step 0: the loss is NaN: the loss gradient of 'bias' is NaN at element 2 of 4")
  expect(await downloaded(device, backend.parameters)).toEqual(parameters)
})

test('missing gradients, or gradients of another shape > rejects before any change', async () => {
  const optimizer = sam(sgd({ lr: 0.1 }))
  const parameters = split(start, Float32Array)
  const backend = await loadedBackend(device, optimizer, parameters, initialState(optimizer, parameters))
  const { bias, ...others } = split(gradientOf(start), Float32Array)
  for (const [gradients, message] of [
    [others, "no loss gradient for parameter 'bias'"],
    [{ ...others, bias: bias!.slice(1) }, "the loss gradient of 'bias' is float32[3], the parameter float32[4]"],
  ] as const) {
    const step = deviceStep(device, backend, optimizer, 0, () => ({ gradients }), {})
    await expect(step).rejects.toMatchObject({ code: 'invalid-data' })
    await expect(step).rejects.toThrow(message)
  }
  expect(await downloaded(device, backend.parameters)).toEqual(parameters)
})

test('dtypes other than float32 > rejects', async () => {
  const optimizer = sgd({ lr: 0.1 })
  const parameters = split(start, Float64Array)
  const loading = loadedBackend(device, optimizer, parameters, initialState(optimizer, parameters))
  await expect(loading).rejects.toMatchObject({ code: 'invalid-data' })
})

test('non-finite gradient > state and mask are unchanged', async () => {
  for (const bad of [Number.NaN, Infinity, -Infinity]) await unchanged(device, bad)
})

test('state stored and loaded > continues bit for bit', async () => {
  const optimizer = ire(adamw({ lr: 0.03 }), { ...ireOptions, beta: 0.5 })
  const run = async (resumesAt: number) => {
    const parameters = split(start, Float32Array)
    const state = initialState(optimizer, parameters)
    let backend = await loadedBackend(device, optimizer, parameters, state)
    const context = { settings, clipNorm: 2 }
    for (let t = 0; t < 20; t++) {
      if (t === resumesAt) {
        await backend.download({ parameters: parameters, optimizer: state })
        await backend.dispose()
        backend = await loadedBackend(device, optimizer, parameters, cloneState(state))
      }
      await deviceStep(device, backend, optimizer, t, answers(optimizer, context)(t), context)
    }
    await backend.download({ parameters: parameters, optimizer: state })
    return { parameters, moments: state.moments, mask: state.mask }
  }
  expect(await run(11)).toEqual(await run(-1))
})

test('large and small tensors of lengths that do not divide evenly > equal the host', async () => {
  const dims: Readonly<Record<string, readonly number[]>> = {
    embedding: [523, 521],
    norm: [1031],
    bias: [2048],
    head: [600, 33],
    scale: [],
  }
  const wave = (length: number, of: number) => Float32Array.from({ length }, (_, i) => Math.sin(i * 1.7 + of))
  const arrays = (of: number): Record<string, Float32Array> =>
    Object.fromEntries(
      Object.entries(dims).map(([name, dims]) => [
        name,
        wave(
          dims.reduce((a, b) => a * b, 1),
          of,
        ),
      ]),
    )
  const optimizer = ire(sam(adamw({ lr: 0.03 }), { rho: 0.5, adaptive: true }), { kappa: 1, gamma: 0.6, interval: 2 })
  const parameters = arrays(0.3)
  const state = initialState(optimizer, parameters)
  const backend = createOnnxBackend(device, optimizer, dims)
  await backend.load({ parameters, optimizer: state })
  for (let t = 0; t < 4; t++) {
    let calls = 0
    // These gradients depend on the ascent, too.
    const gradient = (_: string, at: ParameterArrays) => {
      const own = arrays(t + 0.1 * calls++)
      return {
        gradients: Object.fromEntries(
          Object.entries(own).map(([name, g]) => [name, g.map((x, i) => x + at[name]![i]!)]),
        ),
      }
    }
    // Tensors of one bundle part once their settings do.
    const context = { clipValue: 1.5, clipNorm: 100, settings: { bias: { lrScale: t < 2 ? 1 : 0.5 } } }
    const report = await takeStep(optimizer, parameters, state, gradient, context)
    calls = 0
    const there = await runStep(
      backend,
      optimizer,
      t,
      async (kind, at) => ({
        gradients: await uploaded(device, dims, gradient(kind, await downloaded(device, at)).gradients),
      }),
      context,
    )
    expect(Math.abs(there.gradientNorm / report.gradientNorm - 1)).toBeLessThan(1e-5)
    for (const [name, array] of Object.entries(await downloaded(device, backend.parameters)))
      expect(
        array.reduce((worst, x, i) => Math.max(worst, Math.abs(x - parameters[name]![i]!)), 0),
        name,
      ).toBeLessThan(1e-5)
  }
})
