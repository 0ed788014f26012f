import type { GradientKind, GradientReply, StepContext, StepReport } from '../../../../src/backend/step.js'
import { runStep, takeStep } from '../../../../src/backend/step.js'
import { type FloatArray, mapArrays } from '../../../../src/ir/float-array.js'
import { input } from '../../../../src/ir/leaf.js'
import type { Gradients, ParameterArrays } from '../../../../src/optim/arrays.js'
import type { BaseOptimizer } from '../../../../src/optim/base-optimizer.js'
import { array, formula } from '../../../../src/optim/expr/expr.js'
import { ire } from '../../../../src/optim/ire/ire.js'
import type { Optimizer } from '../../../../src/optim/optimizer.js'
import { sgd } from '../../../../src/optim/sgd.js'
import { initialState, type OptimizerState } from '../../../../src/optim/state.js'
import type { Device, DeviceTensors } from '../../../../src/runtime/device.js'
import type { Runtime } from '../../../../src/runtime/runtime.js'
import { bytesOf } from '../../../../src/util/bytes.js'
import { Random } from '../../../../src/util/random.js'
import { GpuTensor } from '../../../../src/web/runtime/webgpu-sessions.js'
import { YieldingQueue } from '../../../../src/web/runtime/yielding-queue.js'
import { downloadBuffers } from '../../../../src/web/webgpu-backend/state-transfer.js'
import { WebGpuBackend } from '../../../../src/web/webgpu-backend/webgpu-backend.js'
import { createOptimizer, type OptimizerSpec } from '../../../optim/optimizers.js'
import { curvatureOf, flatten, gradientOf, hessianOf, split, start } from '../../../optim/problem.js'

/** Counts of device calls so far. */
const asked = { submits: 0, maps: 0, mappedBytes: 0 }

let opened: Promise<GPUDevice> | undefined
function open(): Promise<GPUDevice> {
  opened ??= (async () => {
    const adapter = await navigator.gpu.requestAdapter()
    if (!adapter) throw new Error('there is no WebGPU adapter')
    const device = await adapter.requestDevice()
    device.addEventListener('uncapturederror', (event) =>
      problems.push((event as GPUUncapturedErrorEvent).error.message),
    )
    const submit = device.queue.submit.bind(device.queue)
    device.queue.submit = (buffers) => {
      asked.submits++
      submit(buffers)
    }
    const map = GPUBuffer.prototype.mapAsync
    GPUBuffer.prototype.mapAsync = function (...args) {
      asked.maps++
      asked.mappedBytes += this.size
      return map.apply(this, args)
    }
    return device
  })()
  return opened
}

/** Validation errors, which WebGPU reports separately from the calls. */
const problems: string[] = []

async function noProblems(device: GPUDevice): Promise<void> {
  await device.queue.onSubmittedWorkDone()
  if (problems.length > 0) throw new Error(problems.splice(0).join('; '))
}

/** Tensors in larger buffers, with NaN after the elements. */
function tensorsOn(device: GPUDevice, arrays: Readonly<Record<string, FloatArray>>): DeviceTensors {
  const tensors = Object.entries(arrays).map(([name, array]) => {
    const elements = new Float32Array(Math.max(4, array.length + 61 - (array.length % 4))).fill(NaN)
    elements.set(array)
    const size = elements.byteLength
    const buffer = device.createBuffer({ size, usage: 0x80 | 0x4 | 0x8 })
    device.queue.writeBuffer(buffer, 0, elements)
    return [name, new GpuTensor(device, 'float32', [array.length], buffer, () => buffer.destroy())] as const
  })
  return Object.fromEntries(tensors)
}

async function arraysOf(device: GPUDevice, tensors: DeviceTensors): Promise<Record<string, Float32Array>> {
  const arrays = mapArrays(tensors, (tensor) => new Float32Array((tensor as GpuTensor).elements))
  const pieces = Object.entries(arrays).map(([name, into]) => ({
    buffer: (tensors[name] as GpuTensor).buffer,
    into: bytesOf(into),
  }))
  await downloadBuffers(device, pieces)
  return arrays
}

const copyOf = <T extends Readonly<Record<string, FloatArray>>>(arrays: T) => structuredClone(arrays) as T

async function backendOf(optimizer: Optimizer, arrays: ParameterArrays) {
  const gpu = await open()
  const turns = new YieldingQueue()
  const ended = new Promise<never>(() => {})
  const context = { gpu, ended, check() {}, run: <T>(work: () => Promise<T>) => turns.run(work) }
  const parameters = new Map(
    Object.entries(arrays).map(([name, { length }]) => [name, input(name, 'float32', [length])] as const),
  )
  const backend = new WebGpuBackend({ provider: 'webgpu' } as Runtime, {} as Device, () => context, {
    optimizer,
    parameters,
  })
  return { device: gpu, backend }
}

type Arrays = Readonly<Record<string, FloatArray>>

/**
 * The distance of `got` from `wanted`, relative to the number or to a tenth of the largest of all tensors: a value that
 * crosses 0 has the rounding error of its earlier magnitude.
 */
function apart(wanted: Arrays, got: Arrays): number {
  let largest = 0
  for (const array of Object.values(wanted)) for (const x of array) largest = Math.max(largest, Math.abs(x))
  let worst = 0
  for (const [name, array] of Object.entries(wanted))
    for (const [i, x] of array.entries()) {
      const difference = Math.abs(got[name]![i]! - x)
      if (!Number.isFinite(difference)) return Infinity
      if (difference > 0) worst = Math.max(worst, difference / Math.max(Math.abs(x), largest / 10))
    }
  return worst
}

/** The largest difference of anything that two states hold. */
function stateApart(wanted: OptimizerState, got: OptimizerState) {
  let moments = 0
  for (const [moment, arrays] of Object.entries(wanted.moments))
    moments = Math.max(moments, apart(arrays as ParameterArrays, got.moments[moment] as ParameterArrays))
  let flips = Number((wanted.mask === null) !== (got.mask === null))
  let curvature = 0
  for (const [name, flat] of Object.entries(wanted.mask?.flat ?? {})) {
    const other = got.mask!.flat[name]!
    if (other.length !== flat.length) flips += Infinity
    for (const [i, n] of flat.entries()) if (n !== other[i]) flips++
  }
  if (wanted.mask?.curvature) curvature = apart(wanted.mask.curvature, got.mask!.curvature!)
  return { moments, flips, curvature }
}

function reportApart(wanted: StepReport, got: StepReport): number {
  const { gradientNorm, threshold, ...rest } = wanted
  const { gradientNorm: norm, threshold: cut, ...others } = got
  if (JSON.stringify(rest) !== JSON.stringify(others))
    throw new Error(`reports differ: ${JSON.stringify(wanted)} and ${JSON.stringify(got)}`)
  const relative = (a: number, b: number) => (a === b ? 0 : Math.abs(a - b) / Math.abs(a))
  return Math.max(relative(gradientNorm, norm), relative(threshold ?? 0, cut ?? 0))
}

/** The kinds of gradients that a run is fed. */
type Gradient = (kind: GradientKind, at: ParameterArrays, step: number) => Gradients

/**
 * Steps in plain arrays and on the device, fed with the same gradients: those at the plain arrays' parameters. Returns
 * the largest differences over all steps.
 */
async function compare(
  optimizer: Optimizer,
  begin: ParameterArrays,
  gradient: Gradient,
  steps: number,
  context: (step: number) => StepContext,
) {
  const parameters = copyOf(begin)
  const state = initialState(optimizer, parameters)
  const own = copyOf(begin)
  const ownState = initialState(optimizer, own)
  const { device, backend } = await backendOf(optimizer, begin)
  await backend.load({ parameters: own, optimizer: ownState })
  const worst = { parameters: 0, moments: 0, curvature: 0, reports: 0, ascended: 0, flips: 0 }
  for (let t = 0; t < steps; t++) {
    const replies: { readonly at: ParameterArrays; readonly reply: GradientReply }[] = []
    const wanted = await takeStep(
      optimizer,
      parameters,
      state,
      (kind, at) => {
        const reply = { gradients: gradient(kind, at, t), batchSize: 3 + (t % 2) }
        replies.push({ at: copyOf(at), reply })
        return reply
      },
      context(t),
    )
    const fed: DeviceTensors[] = []
    const got = await runStep<DeviceTensors>(
      backend,
      optimizer,
      t,
      async (_, at) => {
        const { at: wantedAt, reply } = replies[fed.length]!
        const gradients = tensorsOn(device, reply.gradients)
        fed.push(gradients)
        worst.ascended = Math.max(worst.ascended, apart(wantedAt, await arraysOf(device, at)))
        return { ...reply, gradients }
      },
      context(t),
    )
    for (const tensors of fed) for (const tensor of Object.values(tensors)) tensor.release()
    // Asking again changes nothing.
    const again = { ...got, ...(await backend.stats()) }
    worst.reports = Math.max(worst.reports, reportApart(wanted, got), reportApart(wanted, again))
    await backend.download({ parameters: own, optimizer: ownState })
    const difference = stateApart(state, ownState)
    worst.moments = Math.max(worst.moments, difference.moments)
    worst.curvature = Math.max(worst.curvature, difference.curvature)
    worst.flips += difference.flips
    worst.parameters = Math.max(worst.parameters, apart(parameters, own))
  }
  await noProblems(device)
  await backend.dispose()
  return { ...worst, moved: apart(begin, parameters), flat: state.mask?.flatShare ?? null }
}

/** Steps on a small smooth problem. */
export function trajectory(spec: OptimizerSpec, steps: number, context: StepContext, decay = false) {
  const gradient: Gradient = (kind, at, step) => {
    const estimate = spec.ire?.curvature === 'hutchinson' ? hessianOf : curvatureOf
    const all = split((kind === 'loss' ? gradientOf : estimate)(flatten(at)), Float32Array)
    for (const [name, { startStep = 0 }] of Object.entries(context.settings ?? {}))
      if (step < startStep) delete all[name]
    return all
  }
  const at = (step: number): StepContext => (decay ? { ...context, lrFactor: 1 / (1 + step / 10) } : context)
  return compare(createOptimizer(spec), split(start, Float32Array), gradient, steps, at)
}

/**
 * Steps with random gradients, of tensors of these lengths; `sizes` are the magnitudes that gradients have by turns.
 */
export function randomly(
  spec: OptimizerSpec,
  lengths: readonly number[],
  steps: number,
  context: StepContext = {},
  sizes: readonly number[] = [1],
) {
  const random = new Random(5)
  const draw = (size: (i: number) => number) =>
    mapArrays(Object.fromEntries(lengths.map((n, t) => [`t${t}`, new Float32Array(n)])), (array) =>
      array.map((_, i) => random.normal() * size(i)),
    )
  const gradient = () => draw((i) => sizes[i % sizes.length]!)
  return compare(
    createOptimizer(spec),
    draw(() => 1),
    gradient,
    steps,
    () => context,
  )
}

/**
 * Makes masks of these values, by magnitude or with their sign, on the device and in plain arrays, one for each gamma.
 */
export async function select(values: readonly (number | string)[], gammas: readonly number[], signed: boolean) {
  const all = Float32Array.from(values, Number)
  const third = Math.floor(all.length / 3)
  const bounds = [0, third, third, third + Math.ceil(third / 2), all.length]
  const estimates: Record<string, Float32Array> = {}
  for (const [i, from] of bounds.slice(0, -1).entries()) estimates[`t${i}`] = all.slice(from, bounds[i + 1])
  const parameters = mapArrays(estimates, ({ length }) => new Float32Array(length))
  const gradients = mapArrays(parameters, ({ length }) => new Float32Array(length))
  const ask = (kind: GradientKind) => (kind === 'curvature' ? estimates : gradients)
  const optimizers = gammas.map((gamma) =>
    ire(sgd({ lr: 0 }), { kappa: 1, gamma, curvature: signed ? 'hutchinson' : 'sampled' }),
  )
  const { device, backend } = await backendOf(optimizers[0]!, parameters)
  const flat = (state: OptimizerState) => Object.values(state.mask!.flat).map((n) => n.join(''))
  const results = []
  for (const optimizer of optimizers) {
    const [state, own] = [initialState(optimizer, parameters), initialState(optimizer, parameters)]
    const wanted = await takeStep(optimizer, parameters, state, (kind) => ({ gradients: ask(kind), batchSize: 7 }))
    await backend.load({ parameters: parameters, optimizer: own })
    const got = await runStep<DeviceTensors>(backend, optimizer, 0, (kind) => ({
      gradients: tensorsOn(device, ask(kind)),
      batchSize: 7,
    }))
    await backend.download({ parameters: parameters, optimizer: own })
    results.push({ wanted, got, wantedFlat: flat(state), gotFlat: flat(own) })
  }
  await noProblems(device)
  await backend.dispose()
  return results
}

/**
 * Runs a step on the host and on the device with an invalid `at`-th gradient, and returns the errors and the states.
 */
export async function spoil(
  spec: OptimizerSpec,
  at: number,
  name: string,
  element: number,
  value: number | string,
  context: StepContext = {},
) {
  const optimizer = createOptimizer(spec)
  const parameters = split(start, Float32Array)
  const state = initialState(optimizer, parameters)
  const good = (kind: GradientKind, where: ParameterArrays) =>
    split((kind === 'loss' ? gradientOf : curvatureOf)(flatten(where)), Float32Array)
  for (let t = 0; t < 3; t++)
    await takeStep(optimizer, parameters, state, (kind, where) => ({ gradients: good(kind, where) }), context)
  const { device, backend } = await backendOf(optimizer, parameters)
  await backend.load({ parameters: parameters, optimizer: state })
  const bad = () => {
    let asked = 0
    return (kind: GradientKind, where: ParameterArrays) => {
      const gradients = good(kind, where)
      if (asked++ === at) gradients[name]![element] = Number(value)
      return gradients
    }
  }
  const before = structuredClone({ parameters, state })
  const messageOf = (error: unknown) => String((error as Error).message)
  const wrong = bad()
  const wanted = await takeStep(
    optimizer,
    parameters,
    state,
    (kind, where) => ({ gradients: wrong(kind, where) }),
    context,
  ).then(() => 'nothing was thrown', messageOf)
  const wrongToo = bad()
  const got = await runStep<DeviceTensors>(
    backend,
    optimizer,
    state.step,
    async (kind, where) => ({ gradients: tensorsOn(device, wrongToo(kind, await arraysOf(device, where))) }),
    context,
  ).then(() => 'nothing was thrown', messageOf)
  const [own, ownState] = [copyOf(parameters), initialState(optimizer, parameters)]
  ownState.step = state.step
  await backend.download({ parameters: own, optimizer: ownState })
  const unchanged = JSON.stringify({ parameters: own, state: ownState }) === JSON.stringify(before)
  // The next step is unaffected.
  await takeStep(optimizer, parameters, state, (kind, where) => ({ gradients: good(kind, where) }), context)
  await runStep<DeviceTensors>(
    backend,
    optimizer,
    ownState.step,
    async (kind, where) => ({ gradients: tensorsOn(device, good(kind, await arraysOf(device, where))) }),
    context,
  )
  await backend.download({ parameters: own, optimizer: ownState })
  await noProblems(device)
  await backend.dispose()
  return { wanted, got, unchanged, after: apart(parameters, own) }
}

/**
 * Compares steps that are first abandoned after some requests, all answered with NaN except the first `good`, with
 * host steps without abandoned attempts.
 */
export async function abandon(spec: OptimizerSpec, steps: number, requests: readonly number[], good: number) {
  const optimizer = createOptimizer(spec)
  const parameters = split(start, Float32Array)
  const state = initialState(optimizer, parameters)
  const { device, backend } = await backendOf(optimizer, parameters)
  const [own, ownState] = [copyOf(parameters), initialState(optimizer, parameters)]
  await backend.load({ parameters: own, optimizer: ownState })
  const gradient = (kind: GradientKind, at: ParameterArrays) =>
    split((kind === 'loss' ? gradientOf : curvatureOf)(flatten(at)), Float32Array)
  const step = (t: number, requests: number, good: number) => {
    let asked = 0
    return runStep<DeviceTensors>(backend, optimizer, t, async (kind, at) => {
      if (++asked > requests) throw new Error('given up')
      const arrays = gradient(kind, await arraysOf(device, at))
      return {
        gradients: tensorsOn(device, asked > good ? mapArrays(arrays, (array) => array.map(() => NaN)) : arrays),
      }
    })
  }
  let unchanged = true
  let givenUp = 0
  for (let t = 0; t < steps; t++) {
    const before = structuredClone({ own, ownState })
    for (const most of requests) {
      await step(t, most, good).then(
        () => {
          throw new Error('the step was to be given up')
        },
        (error) => {
          if (error.message !== 'given up') throw error
          givenUp++
        },
      )
      await backend.download({ parameters: own, optimizer: ownState })
      unchanged &&= JSON.stringify({ own, ownState }) === JSON.stringify(before)
    }
    await takeStep(optimizer, parameters, state, (kind, at) => ({ gradients: gradient(kind, at) }))
    await step(t, Infinity, Infinity)
    await backend.download({ parameters: own, optimizer: ownState })
  }
  await noProblems(device)
  await backend.dispose()
  return { unchanged, givenUp, ...stateApart(state, ownState), parameters: apart(parameters, own) }
}

/** Passes invalid state or gradients to a backend, which rejects. */
export async function refuse(kind: 'missing' | 'longer' | 'foreign' | 'integers' | 'moments' | 'released' | 'check') {
  const device = await open()
  const moments = Array.from({ length: 9 }, (_, i) => `m${i}`)
  const many: BaseOptimizer = {
    ...sgd(),
    moments,
    formula: formula({ d: array('g'), ...Object.fromEntries(moments.map((name) => [name, array('g')])) }),
    coefficients: () => ({}),
  }
  const optimizer = kind === 'moments' ? many : sgd({ momentum: 0.9 })
  const parameters = { a: Float32Array.of(1, 2, 3) }
  const { backend } = await backendOf(optimizer, parameters)
  await backend.load({ parameters: parameters, optimizer: initialState(optimizer, parameters) })
  const { a } = tensorsOn(device, parameters)
  const { buffer } = a as GpuTensor
  const fed: Readonly<Record<string, DeviceTensors>> = {
    missing: {},
    longer: { a: new GpuTensor(device, 'float32', [4], buffer) },
    foreign: { a: { dtype: 'float32', dims: [3], release: () => {} } },
    integers: { a: new GpuTensor(device, 'int32', [3], buffer) },
  }
  if (kind === 'released') await backend.dispose()
  if (kind === 'check') {
    await backend.checkFinite(['a'], { a: a! }, 'step 3: the loss is NaN', 'loss gradient')
    const bad = tensorsOn(device, { a: Float32Array.of(0, 1, NaN) })
    await backend.checkFinite(['a'], bad, 'step 3: the loss is NaN', 'loss gradient')
  }
  await runStep<DeviceTensors>(backend, optimizer, 0, () => ({ gradients: fed[kind] ?? { a: a! } }))
}

/** Runs a step whose shader fails to compile once, then the same step again; returns the error and the parameter. */
export async function retry() {
  const device = await open()
  // An expression that was not compiled before.
  const base: BaseOptimizer = {
    ...sgd(),
    moments: [],
    formula: formula({ d: array('g').mul(0.375) }),
    coefficients: () => ({}),
  }
  const parameters = { a: Float32Array.of(1, 2, 3) }
  const { backend } = await backendOf(base, parameters)
  const state = initialState(base, parameters)
  await backend.load({ parameters: parameters, optimizer: state })
  const step = () =>
    runStep<DeviceTensors>(backend, base, 0, () => ({
      gradients: tensorsOn(device, { a: Float32Array.of(8, 0, -8) }),
    }))
  const make = device.createComputePipelineAsync.bind(device)
  device.createComputePipelineAsync = () => Promise.reject(new Error('not now'))
  const thrown = await step().then(
    () => 'nothing was thrown',
    ({ message }: Error) => message,
  )
  device.createComputePipelineAsync = make
  await step()
  await backend.download({ parameters: parameters, optimizer: state })
  await noProblems(device)
  await backend.dispose()
  return { thrown, a: [...parameters.a] }
}

/** Counts the device calls of one step after warm-up, without those of the test. */
export async function cost(spec: OptimizerSpec, lengths: readonly number[], steps: number) {
  const random = new Random(5)
  const optimizer = createOptimizer(spec)
  const entries = lengths.map((n, i) => [`t${i}`, Float32Array.from({ length: n }, () => random.normal())] as const)
  const parameters: ParameterArrays = Object.fromEntries(entries)
  const { device, backend } = await backendOf(optimizer, parameters)
  await backend.load({ parameters: parameters, optimizer: initialState(optimizer, parameters) })
  const gradients = tensorsOn(device, parameters)
  const counts: (typeof asked)[] = []
  for (let t = 0; t < steps; t++) {
    const before = { ...asked }
    await runStep<DeviceTensors>(backend, optimizer, t, () => ({ gradients }))
    counts.push({
      submits: asked.submits - before.submits,
      maps: asked.maps - before.maps,
      mappedBytes: asked.mappedBytes - before.mappedBytes,
    })
  }
  await noProblems(device)
  await backend.dispose()
  return counts
}
