import { afterAll, describe, expect, test } from 'vitest'
import { node } from '../../src/node/index.js'
import { adam, adamw } from '../../src/optim/adam.js'
import type { ParameterArrays } from '../../src/optim/arrays.js'
import type { BaseOptimizer } from '../../src/optim/base.js'
import { learningRateFactor } from '../../src/optim/schedule.js'
import { sgd } from '../../src/optim/sgd.js'
import { hostDevice } from '../../src/runtime/host-device.js'
import { graphResidence } from '../../src/step/graph-residence.js'
import { type IreOptions, ire } from '../../src/step/ire.js'
import { layers, type Optimizer } from '../../src/step/optimizer.js'
import { sam } from '../../src/step/sam.js'
import type { ParameterSettings } from '../../src/step/settings.js'
import { cloneState, initialState, type OptimizerState } from '../../src/step/state.js'
import type { StepContext } from '../../src/step/step.js'
import { takeStep } from '../../src/step/take-step.js'
import { curvatureOf, flatten, gradientOf, hessianOf, split, start } from '../optim/problem.js'
import { deviceStep, downloaded, shapesOf } from './device-run.js'

const runtime = node({ threads: 1, worker: false })
const device = hostDevice(runtime)
afterAll(() => runtime.dispose())

const steps = 50
/** A gradient near a minimum is the difference of terms of this size. */
const steep = Math.exp(2)
const lrFactor = (t: number) => learningRateFactor({ kind: 'cosine', warmup: 4, floor: 0.1 }, t, steps)
const betas = [0.9, 0.99] as const
const bases: readonly [string, BaseOptimizer][] = [
  ['sgd', sgd({ lr: 0.02, weightDecay: 0.01 })],
  ['sgd with momentum', sgd({ lr: 0.02, momentum: 0.8, dampening: 0.1, weightDecay: 0.01 })],
  ['nesterov', sgd({ lr: 0.02, momentum: 0.8, nesterov: true, weightDecay: 0.01 })],
  ['adam', adam({ lr: 0.03, betas, weightDecay: 0.05 })],
  ['adamw', adamw({ lr: 0.03, betas, weightDecay: 0.05 })],
]
const sams: readonly [string, (base: BaseOptimizer) => ReturnType<typeof sam> | BaseOptimizer][] = [
  ['', (base) => base],
  [', sam', (base) => sam(base, { rho: 0.1 })],
  [', adaptive sam', (base) => sam(base, { rho: 0.15, adaptive: true })],
]
const options: IreOptions = { kappa: 1.5, gamma: 0.7, interval: 3, warmup: 5 }
const ires: readonly [string, IreOptions | null][] = [
  ['', null],
  [', ire', options],
  [', ire with kappaDecay and beta', { ...options, beta: 0.6, kappaDecay: true }],
  [', ire of the empirical curvature', { ...options, curvature: 'empirical' }],
  [', ire of the Hessian', { ...options, curvature: 'hutchinson', beta: 0.6 }],
]
const settings: Readonly<Record<string, ParameterSettings>> = {
  weight: { lrScale: 0.5, weightDecay: 0.2 },
  bias: { weightDecay: 0, enhanced: false },
  scale: { since: 9, lrScale: 3 },
  embedding: { since: 7 },
}

/** Gradients of the problem, of the tensors that are trained at step `t`. */
function answers(optimizer: Optimizer, context: StepContext) {
  const estimate = layers(optimizer).ire?.curvature === 'hutchinson' ? hessianOf : curvatureOf
  return (t: number) => (kind: string, at: ParameterArrays) => {
    const gradients = split((kind === 'curvature' ? estimate : gradientOf)(flatten(at)), Float32Array)
    for (const [name, { since = 0 }] of Object.entries(context.settings ?? {})) if (t < since) delete gradients[name]
    return { gradients }
  }
}

/** Takes the same steps on the host and on the device, comparing after each. */
async function agree(optimizer: Optimizer, context: StepContext = {}, count = steps): Promise<string> {
  const parameters = split(start, Float32Array)
  const state = initialState(optimizer, parameters)
  const residence = await resident(optimizer, parameters, state)
  const answer = answers(optimizer, context)
  for (let t = 0; t < count; t++) {
    const here = { ...context, lrFactor: lrFactor(t) }
    const report = await takeStep(optimizer, parameters, state, answer(t), here)
    const numbers = await deviceStep(device, residence, optimizer, t, answer(t), here)
    expectClose(await downloaded(device, residence.parameters), parameters, `step ${t}`)
    // SAM measures it at the top of the ascent, which moves faster than the parameters do.
    const norm = report.gradientNorm
    expect(Math.abs(numbers.gradientNorm - norm)).toBeLessThan(1e-4 * Math.max(1, norm))
    expect(numbers.flatShare).toBe(report.flatShare)
    expect(numbers.zeroShare).toBe(report.zeroShare)
  }
  const stored = { parameters: split(start, Float32Array), state: initialState(optimizer, parameters) }
  await residence.store(stored.parameters, stored.state)
  expectClose(stored.parameters, parameters, 'stored')
  for (const [moment, arrays] of Object.entries(state.moments))
    expectClose(stored.state.moments[moment]!, arrays, moment, steep)
  expect(stored.state.mask?.flat).toEqual(state.mask?.flat)
  await residence.release()
  const end = flatten(parameters)
  expect(Math.max(...end.map((x, i) => Math.abs(x - start[i]!)))).toBeGreaterThan(0.1)
  return end.map((x) => x.toFixed(5)).join()
}

async function resident(optimizer: Optimizer, parameters: ParameterArrays, state: OptimizerState) {
  const { base, ire } = layers(optimizer)
  const residence = await graphResidence(device, { base, ire, parameters: shapesOf(parameters) })
  await residence.load(parameters, state)
  return residence
}

/** @param small where a coordinate crosses 0 it carries the rounding of the larger values it came from */
function expectClose(got: ParameterArrays, wanted: ParameterArrays, place: string, small = 0.1): void {
  expect(Object.keys(got).sort()).toEqual(Object.keys(wanted).sort())
  for (const [name, array] of Object.entries(wanted)) {
    const off = array.map((x, i) => Math.abs(got[name]![i]! - x) / Math.max(Math.abs(x), small))
    expect(Math.max(0, ...off), `${place}, ${name}`).toBeLessThan(1e-5)
  }
}

describe('50 steps by graphs on a device agree with those of plain arrays to 1e-5', () => {
  const ends = new Set<string>()
  for (const [baseName, base] of bases)
    for (const [samName, around] of sams)
      test(`${baseName}${samName}`, async () => {
        for (const [, enhancement] of ires) {
          const inner = around(base)
          ends.add(await agree(enhancement ? ire(inner, enhancement) : inner))
        }
      })
  test('and no two of them are the same optimizer', () => {
    expect(ends.size).toBe(bases.length * sams.length * ires.length)
  })
  for (const [baseName, base] of bases) {
    test(`${baseName}, clipped by value and norm`, async () => {
      for (const clips of [{ clipNorm: 3 }, { clipValue: 0.4 }, { clipValue: 0.4, clipNorm: 1 }, { clipNorm: 1e30 }])
        await agree(ire(sam(base, { rho: 0.1 }), options), clips)
    })
    test(`${baseName}, with settings per tensor`, async () => {
      for (const [, around] of sams)
        for (const [, enhancement] of ires) {
          const inner = around(base)
          await agree(enhancement ? ire(inner, enhancement) : inner, { settings, clipNorm: 2, clipValue: 1 })
        }
    })
  }
})

test('a loss that is not finite names the tensor whose gradient is not either', async () => {
  const optimizer = sgd({ lr: 0.1 })
  const parameters = split(start, Float32Array)
  const residence = await resident(optimizer, parameters, initialState(optimizer, parameters))
  const gradients = split(gradientOf(start), Float32Array)
  gradients['bias']![2] = Number.NaN
  const step = deviceStep(device, residence, optimizer, 0, () => ({ gradients, loss: Number.NaN }), {})
  await expect(step).rejects.toThrow("step 0: the loss is NaN: the loss gradient of 'bias' is NaN at element 2 of 4")
  expect(await downloaded(device, residence.parameters)).toEqual(parameters)
})

test('missing and misshapen gradients are refused before anything is done', async () => {
  const optimizer = sam(sgd({ lr: 0.1 }))
  const parameters = split(start, Float32Array)
  const residence = await resident(optimizer, parameters, initialState(optimizer, parameters))
  const { bias, ...others } = split(gradientOf(start), Float32Array)
  for (const [gradients, message] of [
    [others, "no loss gradient for parameter 'bias'"],
    [{ ...others, bias: bias!.slice(1) }, "the loss gradient of 'bias' is float32[3], the parameter float32[4]"],
  ] as const) {
    const step = deviceStep(device, residence, optimizer, 0, () => ({ gradients }), {})
    await expect(step).rejects.toMatchObject({ code: 'invalid-data' })
    await expect(step).rejects.toThrow(message)
  }
  expect(await downloaded(device, residence.parameters)).toEqual(parameters)
})

test('a device keeps float32 only', async () => {
  const optimizer = sgd({ lr: 0.1 })
  const parameters = split(start, Float64Array)
  const loading = resident(optimizer, parameters, initialState(optimizer, parameters))
  await expect(loading).rejects.toMatchObject({ code: 'invalid-data' })
})

test('a gradient that is not finite leaves everything as it was, mask too', async () => {
  for (const bad of [Number.NaN, Infinity, -Infinity]) {
    const optimizer = ire(sam(adamw({ lr: 0.03 }), { rho: 0.1 }), { ...options, warmup: 0, interval: 2 })
    const parameters = split(start, Float32Array)
    const state = initialState(optimizer, parameters)
    const residence = await resident(optimizer, parameters, state)
    const answer = answers(optimizer, {})
    for (let t = 0; t < 2; t++) await deviceStep(device, residence, optimizer, t, answer(t), {})
    const before = { parameters, state: cloneState(state) }
    await residence.store(before.parameters, before.state)
    let calls = 0
    // Step 2 refreshes: curvature, the first gradient, the one after the ascent.
    for (const [at, what] of [
      [1, 'loss gradient'],
      [2, 'loss gradient after the ascent'],
    ] as const) {
      calls = 0
      const spoilt = (kind: string, from: ParameterArrays) => {
        const { gradients } = answer(2)(kind, from)
        if (calls++ === at) gradients['embedding']![7] = bad
        return { gradients }
      }
      const step = deviceStep(device, residence, optimizer, 2, spoilt, {})
      await expect(step).rejects.toMatchObject({ code: 'not-finite' })
      await expect(step).rejects.toThrow(`step 2: the ${what} of 'embedding' is ${bad} at element 7 of 12`)
      expect(calls).toBe(3)
      const after = { parameters: split(start, Float32Array), state: initialState(optimizer, parameters) }
      await residence.store(after.parameters, after.state)
      expect(after.parameters).toEqual(before.parameters)
      expect(after.state.moments).toEqual(before.state.moments)
      expect(after.state.mask).toBe(before.state.mask)
    }
    const numbers = await deviceStep(device, residence, optimizer, 2, answer(2), {})
    expect(numbers.gradientNorm).toBeGreaterThan(0)
  }
})

test('what is stored and loaded goes on bit for bit', async () => {
  const optimizer = ire(adamw({ lr: 0.03 }), { ...options, beta: 0.5 })
  const run = async (resumesAt: number) => {
    const parameters = split(start, Float32Array)
    const state = initialState(optimizer, parameters)
    let residence = await resident(optimizer, parameters, state)
    const context = { settings, clipNorm: 2 }
    for (let t = 0; t < 20; t++) {
      if (t === resumesAt) {
        await residence.store(parameters, state)
        await residence.release()
        residence = await resident(optimizer, parameters, cloneState(state))
      }
      await deviceStep(device, residence, optimizer, t, answers(optimizer, context)(t), context)
    }
    await residence.store(parameters, state)
    return { parameters, moments: state.moments, mask: state.mask }
  }
  expect(await run(11)).toEqual(await run(-1))
})
