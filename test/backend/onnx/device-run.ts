import { expect } from 'vitest'
import type { StepBackend } from '../../../src/backend/backend.js'
import { OnnxBackend } from '../../../src/backend/onnx/onnx-backend.js'
import type { StepContext, StepReport } from '../../../src/backend/step.js'
import { type GradientFunction, runStep, takeStep } from '../../../src/backend/step.js'
import { input } from '../../../src/ir/leaf.js'
import { adamw } from '../../../src/optim/adam.js'
import type { ParameterArrays } from '../../../src/optim/arrays.js'
import { ire } from '../../../src/optim/ire/ire.js'
import { type Optimizer, unwrap } from '../../../src/optim/optimizer.js'
import { type SamOptions, sam } from '../../../src/optim/sam.js'
import { cloneState, initialState, type OptimizerState } from '../../../src/optim/state.js'
import type { Device, DeviceTensors } from '../../../src/runtime/device.js'
import type { Runtime } from '../../../src/runtime/runtime.js'
import { ireOptions } from '../../optim/optimizers.js'
import { curvatureOf, flatten, gradientOf, hessianOf, lrFactorOf, split, start } from '../../optim/problem.js'

const dimsOf: Readonly<Record<string, readonly number[]>> = { scale: [], embedding: [4, 3], nothing: [0, 5] }

/** Some dims for the arrays of a test's problem. */
export const shapesOf = (parameters: ParameterArrays) =>
  Object.fromEntries(Object.entries(parameters).map(([name, { length }]) => [name, dimsOf[name] ?? [length]]))

/** Arrays as tensors of a device. */
export async function uploaded(
  device: Device,
  shapes: Readonly<Record<string, readonly number[]>>,
  arrays: ParameterArrays,
): Promise<DeviceTensors> {
  const tensors: Record<string, DeviceTensors[string]> = {}
  for (const [name, data] of Object.entries(arrays))
    tensors[name] = await device.upload({ dtype: 'float32', dims: shapes[name]!, data })
  return tensors
}

/** The reverse. */
export async function downloaded(device: Device, tensors: DeviceTensors): Promise<Record<string, Float32Array>> {
  const arrays: Record<string, Float32Array> = {}
  for (const [name, tensor] of Object.entries(tensors))
    arrays[name] = (await device.download(tensor)).data as Float32Array
  return arrays
}

/** Runs one step on a device with gradients computed on the host. */
export async function deviceStep(
  device: Device,
  backend: StepBackend<DeviceTensors>,
  optimizer: Optimizer,
  step: number,
  gradient: GradientFunction,
  context: StepContext,
): Promise<StepReport> {
  const asked: DeviceTensors[] = []
  const answer: GradientFunction<DeviceTensors> = async (kind, at) => {
    const reply = await gradient(kind, await downloaded(device, at))
    const gradients = await uploaded(device, shapesOf(reply.gradients), reply.gradients)
    asked.push(gradients)
    return { ...reply, gradients }
  }
  try {
    return await runStep(backend, optimizer, step, answer, context)
  } finally {
    for (const gradients of asked) for (const tensor of Object.values(gradients)) tensor.release()
  }
}

/** A gradient near a minimum is the difference of terms of this size. */
const steep = Math.exp(2)
const lrFactor = lrFactorOf(50)

/** Gradients of the problem, of the tensors that are trained at step `t`. */
export function answers(optimizer: Optimizer, context: StepContext) {
  const estimate = unwrap(optimizer).ire?.curvature === 'hutchinson' ? hessianOf : curvatureOf
  return (t: number) => (kind: string, at: ParameterArrays) => {
    const gradients = split((kind === 'curvature' ? estimate : gradientOf)(flatten(at)), Float32Array)
    for (const [name, { startStep = 0 }] of Object.entries(context.settings ?? {}))
      if (t < startStep) delete gradients[name]
    return { gradients }
  }
}

/** Takes the same steps on the host and on the device, comparing after each. */
export async function agree(
  device: Device,
  optimizer: Optimizer,
  context: StepContext = {},
  steps = 50,
  // An estimated step size carries the rounding of all elements into every element.
  within = unwrap(optimizer).base.estimate ? 1e-4 : 1e-5,
): Promise<string> {
  const parameters = split(start, Float32Array)
  const state = initialState(optimizer, parameters)
  const backend = await loadedBackend(device, optimizer, parameters, state)
  const answer = answers(optimizer, context)
  for (let t = 0; t < steps; t++) {
    const here = { ...context, lrFactor: lrFactor(t) }
    const report = await takeStep(optimizer, parameters, state, answer(t), here)
    const numbers = await deviceStep(device, backend, optimizer, t, answer(t), here)
    expectClose(await downloaded(device, backend.parameters), parameters, `step ${t}`, within)
    // SAM measures it at the top of the ascent, which moves faster than the parameters do.
    const norm = report.gradientNorm
    expect(Math.abs(numbers.gradientNorm - norm)).toBeLessThan(1e-4 * Math.max(1, norm))
    expect(numbers.flatShare).toBe(report.flatShare)
    expect(numbers.zeroShare).toBe(report.zeroShare)
  }
  const stored = { parameters: split(start, Float32Array), state: initialState(optimizer, parameters) }
  await backend.download({ parameters: stored.parameters, optimizer: stored.state })
  expectClose(stored.parameters, parameters, 'stored', within)
  for (const [moment, arrays] of Object.entries(state.moments))
    expectClose(stored.state.moments[moment] as ParameterArrays, arrays as ParameterArrays, moment, within, steep)
  for (const [name, x] of Object.entries(state.estimate ?? {}))
    expect(Math.abs(stored.state.estimate![name]! / x - 1), name).toBeLessThan(within)
  expect(stored.state.mask?.flat).toEqual(state.mask?.flat)
  await backend.dispose()
  const end = flatten(parameters)
  expect(Math.max(...end.map((x, i) => Math.abs(x - start[i]!)))).toBeGreaterThan(0.01)
  return end.map((x) => x.toFixed(5)).join()
}

/** Creates the ONNX backend of a device with a loaded state. */
export async function loadedBackend(
  device: Device,
  optimizer: Optimizer,
  parameters: ParameterArrays,
  state: OptimizerState,
): Promise<OnnxBackend> {
  const backend = createOnnxBackend(device, optimizer, shapesOf(parameters))
  await backend.load({ parameters, optimizer: state })
  return backend
}

/** Creates the ONNX backend of a device for float32 parameters of these dims. */
export function createOnnxBackend(
  device: Device,
  optimizer: Optimizer,
  shapes: Readonly<Record<string, readonly number[]>>,
): OnnxBackend {
  const parameters = Object.entries(shapes).map(([name, dims]) => [name, input(name, 'float32', dims)] as const)
  return new OnnxBackend({ provider: 'cpu' } as Runtime, device, { optimizer, parameters: new Map(parameters) })
}

/** @param small where a coordinate crosses 0 it carries the rounding of the larger values it came from */
function expectClose(got: ParameterArrays, wanted: ParameterArrays, place: string, within: number, small = 0.1): void {
  expect(Object.keys(got).sort()).toEqual(Object.keys(wanted).sort())
  for (const [name, array] of Object.entries(wanted)) {
    const off = array.map((x, i) => Math.abs(got[name]![i]! - x) / Math.max(Math.abs(x), small))
    expect(Math.max(0, ...off), `${place}, ${name}`).toBeLessThan(within)
  }
}

/** Takes two steps and a third one whose gradient is `bad` somewhere: it names that, and changes nothing. */
export async function unchanged(device: Device, bad: number, around: SamOptions = { rho: 0.1 }): Promise<void> {
  const optimizer = ire(sam(adamw({ lr: 0.03 }), around), { ...ireOptions, warmup: 0, interval: 2 })
  const parameters = split(start, Float32Array)
  const state = initialState(optimizer, parameters)
  const backend = await loadedBackend(device, optimizer, parameters, state)
  const answer = answers(optimizer, {})
  for (let t = 0; t < 2; t++) await deviceStep(device, backend, optimizer, t, answer(t), {})
  const before = { parameters, state: cloneState(state) }
  await backend.download({ parameters: before.parameters, optimizer: before.state })
  // Step 2 refreshes: curvature, the first gradient, the one after the ascent.
  for (const [at, what] of [
    [1, 'loss gradient'],
    [2, 'loss gradient after the ascent'],
  ] as const) {
    let calls = 0
    const spoilt = (kind: string, from: ParameterArrays) => {
      const { gradients } = answer(2)(kind, from)
      if (calls++ === at) gradients['embedding']![7] = bad
      return { gradients }
    }
    const step = deviceStep(device, backend, optimizer, 2, spoilt, {})
    await expect(step).rejects.toMatchObject({ code: 'not-finite' })
    await expect(step).rejects.toThrow(`step 2: the ${what} of 'embedding' is ${bad} at element 7 of 12`)
    expect(calls).toBe(3)
    const after = { parameters: split(start, Float32Array), state: initialState(optimizer, parameters) }
    await backend.download({ parameters: after.parameters, optimizer: after.state })
    expect(after.parameters).toEqual(before.parameters)
    expect(after.state.moments).toEqual(before.state.moments)
    expect(after.state.mask).toBe(before.state.mask)
  }
  const { gradientNorm } = await deviceStep(device, backend, optimizer, 2, answer(2), {})
  expect(gradientNorm).toBeGreaterThan(0)
  await backend.dispose()
}
