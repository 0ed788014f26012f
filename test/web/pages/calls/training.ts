import {
  adamw,
  crossEntropy,
  type DatasetOrStream,
  encodeModel,
  fromArrays,
  imageColumn,
  labelColumn,
  type Measures,
  namedTensors,
  type Runtime,
  Trainer,
} from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { modelOf } from 'onnx-ire/graph'
import { mlp } from 'onnx-ire/models'
import {
  checkpointFolder,
  readIdx,
  readModel,
  storage,
  type WebGpuRuntime,
  wasm,
  webgpu,
  writeModel,
} from 'onnx-ire/web'
import { put } from '../exchange.js'
import { optionsOf, type Task, trainHeadOn, type Where } from '../task.js'
import { tune } from './guide.js'

const create = (where: Where): Promise<Runtime> => (where === 'wasm' ? wasm({ threads: 1 }) : webgpu())
const started = new Map<Where, Promise<Runtime>>()

/** A runtime that all runs in a page share: a software GPU takes seconds to compile shaders for a new device. */
export function start(where: Where): Promise<Runtime> {
  const runtime = started.get(where) ?? create(where)
  started.set(where, runtime)
  return runtime
}

export async function dataOf({ pixels, labels: classes, size }: Task): Promise<DatasetOrStream> {
  const [x, label] = await Promise.all([readIdx(`/exchange/${pixels}`), readIdx(`/exchange/${classes}`)])
  return fromArrays({ x: imageColumn(x, { size, channels: 1, mean: 0.5, std: 0.5 }), labels: labelColumn(label) })
}

export interface Outcome {
  readonly losses: readonly number[]
  readonly before: Measures
  readonly after: Measures
  readonly description: string
}

/** Fine-tunes, hands the tuned model to the test as `tuned`, and says how good it is. */
export async function fineTune(where: Where, task: Task): Promise<Outcome> {
  const runtime = await start(where)
  const data = await dataOf(task)
  const trainer = await Trainer.create(await readModel(`/exchange/${task.model}`), optionsOf(task, runtime))
  const before = await trainer.evaluate(data)
  const losses: number[] = []
  for await (const _ of trainer.fit(data, { totalSteps: task.steps, onStep: ({ loss }) => void losses.push(loss) }));
  const after = await trainer.evaluate(data)
  await writeModel(trainer.export(), 'tuned.onnx')
  await put('tuned', new Uint8Array(await (await storage.read('tuned.onnx')).arrayBuffer()))
  await trainer.dispose()
  return { losses, before, after, description: runtime.description }
}

/**
 * Trains to `until`, with a checkpoint every few steps in the origin's own file system, going on from there if there is
 * one; hands over the model as `name`.
 */
export async function goOn(where: Where, task: Task, until: number, name: string, fresh: boolean) {
  if (fresh) await storage.remove('runs/resumed')
  const store = checkpointFolder('runs/resumed', { keep: 2 })
  const runtime = await start(where)
  const data = await dataOf(task)
  const trainer = await Trainer.create(await readModel(`/exchange/${task.model}`), optionsOf(task, runtime))
  const resumed = await trainer.resume(store)
  const losses: number[] = []
  for await (const _ of trainer.fit(data, {
    totalSteps: task.steps,
    checkpoints: { store, everySteps: 5 },
    onStep: ({ loss }) => {
      losses.push(loss)
      return trainer.step >= until ? 'stop' : undefined
    },
  }));
  await put(name, encodeModel(trainer.export()) as Uint8Array<ArrayBuffer>)
  await trainer.dispose()
  return {
    losses,
    steps: await store.steps(),
    resumed: resumed && { step: resumed.step, skipped: resumed.skipped.map(({ step, error }) => [step, error.code]) },
  }
}

/** Trains the head of a network with large weights; returns the losses and the bytes of the largest compiled model. */
export async function trainHead(where: Where) {
  const runtime = await start(where)
  const sizes: number[] = []
  const compile: Runtime['compile'] = (model, hints) => {
    sizes.push(model.length)
    return runtime.compile(model, hints)
  }
  return { losses: await trainHeadOn({ ...runtime, compile }), largest: Math.max(...sizes) }
}

/** Flips a bit in the middle of a stored file. */
export async function damage(path: string) {
  const bytes = new Uint8Array(await (await storage.read(path)).arrayBuffer())
  bytes[bytes.length >> 1]! ^= 1
  await storage.write(path, bytes)
}

/**
 * Trains on WebGPU and destroys the device at some steps; says after which steps the trainer went on, and what came
 * out.
 */
export async function interrupted(task: Task, at: readonly number[]) {
  const runtime = (await start('webgpu')) as WebGpuRuntime
  const data = await dataOf(task)
  const trainer = await Trainer.create(await readModel(`/exchange/${task.model}`), optionsOf(task, runtime))
  const losses: number[] = []
  const lostAt: number[] = []
  for await (const _ of trainer.fit(data, {
    totalSteps: task.steps,
    onStep: ({ loss }) => {
      losses.push(loss)
      if (at.includes(losses.length)) runtime.gpu.destroy()
    },
    onDeviceLost: (step) => void lostAt.push(step),
  }));
  const weights = task.ema === undefined ? 'last' : 'ema'
  const bytes = encodeModel(trainer.export({ weights })) as Uint8Array<ArrayBuffer>
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  await trainer.dispose()
  return { losses, lostAt, model: [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('') }
}

/**
 * Trains with a moving average of the weights, and computes the same of the parameters that every step ends with: the
 * largest difference, relative to what is larger than 0.1, and how far the average is from the parameters.
 */
export async function averaged(where: Where, task: Task & { readonly ema: number }) {
  const runtime = await start(where)
  const data = await dataOf(task)
  const trainer = await Trainer.create(await readModel(`/exchange/${task.model}`), optionsOf(task, runtime))
  const plain = new Map(
    Object.entries(await trainer.parameters()).map(([name, array]) => [name, Float64Array.from(array)]),
  )
  const onStep = async () => {
    await trainer.sync()
    for (const [name, own] of plain)
      for (const [i, x] of (await trainer.parameters())[name]!.entries())
        own[i] = task.ema * own[i]! + (1 - task.ema) * x
  }
  for await (const _ of trainer.fit(data, { totalSteps: task.steps, onStep }));
  const average = namedTensors(trainer.export({ weights: 'ema' }))
  let [off, moved] = [0, 0]
  for (const [name, own] of plain)
    for (const [i, x] of own.entries()) {
      const got = (average.get(name)!.data as Float32Array)[i]!
      off = Math.max(off, Math.abs(got - x) / Math.max(0.1, Math.abs(x)))
      moved = Math.max(moved, Math.abs(got - (await trainer.parameters())[name]![i]!))
    }
  await trainer.dispose()
  return { off, moved }
}

/**
 * Trains a small network; every so many steps it counts the GPU buffers that are there, and says on the console how far
 * it is.
 */
export async function endure(where: Where, [features, ...hidden]: number[], steps: number, every: number) {
  const runtime = await create(where)
  const count = 'gpu' in runtime ? counted((runtime as WebGpuRuntime).gpu) : () => 0
  const classes = hidden.pop()!
  const random = new Random(1)
  const data = fromArrays({
    x: { dims: [64, features!], data: Float32Array.from({ length: 64 * features! }, () => random.uniform()) },
    labels: labelColumn(Array.from({ length: 64 }, (_, i) => i % classes)),
  })
  const trainer = await Trainer.create(modelOf(mlp({ features: features!, hidden, classes })), {
    loss: crossEntropy(),
    optimizer: adamw({ lr: 1e-3 }),
    ema: 0.9,
    runtime,
    batchSize: 8,
  })
  const counts: number[] = []
  const onStep = () => {
    if (trainer.step % every !== 0) return
    counts.push(count())
    console.log(`steps ${trainer.step}`)
  }
  for await (const _ of trainer.fit(data, { totalSteps: steps, onStep }));
  await trainer.dispose()
  await runtime.dispose()
  return { counts }
}

/** Counts the buffers of a device that are there. */
function counted(gpu: GPUDevice): () => number {
  const there = new Set<GPUBuffer>()
  const create = gpu.createBuffer.bind(gpu)
  gpu.createBuffer = (descriptor) => {
    const buffer = create(descriptor)
    const destroy = buffer.destroy.bind(buffer)
    there.add(buffer)
    buffer.destroy = () => {
      there.delete(buffer)
      destroy()
    }
    return buffer
  }
  return () => there.size
}

/** Runs the program of the guide and returns its messages. */
export async function guide() {
  await storage.remove('runs/digits')
  const lines: string[] = []
  await tune((line) => lines.push(line))
  return lines
}

/**
 * Makes calls on a trainer that was disposed, on one whose runtime is disposed of during a step, and begins calls on
 * runtimes that are disposed of meanwhile; what each says.
 */
export async function disposed(where: Where) {
  const runtime = await create(where)
  const data = fromArrays({
    x: { dims: [32, 4], data: new Float32Array(128).fill(1) },
    labels: labelColumn(Array(32).fill(1)),
  })
  const model = modelOf(mlp({ features: 4, hidden: [4], classes: 2 }))
  const options = { loss: crossEntropy(), optimizer: adamw({ lr: 1e-3 }), runtime, batchSize: 4 }
  const said = (call: Promise<unknown>) =>
    call.then(
      () => 'done',
      ({ code, message }) => `${code}: ${message}`,
    )
  const first = await Trainer.create(model, options)
  await first.train(data, { totalSteps: 1 })
  await first.dispose()
  const trainer = await said(first.train(data, { totalSteps: 2 }))
  const second = await Trainer.create(model, options)
  const onStep = ({ step }: { readonly step: number }) => void (step === 3 && runtime.dispose())
  const training = await said(second.train(data, { totalSteps: 100, onStep }))
  const later = [await said(second.train(data, { totalSteps: 100 })), await said(Trainer.create(model, options))]
  const another = await create(where)
  const meanwhile = [said(Trainer.create(model, { ...options, runtime: another }))]
  await another.dispose()
  // A compilation is disposed of before it begins, and at its first turns.
  for (const turns of [0, 1, 2, 3, 4]) {
    const its = await create(where)
    let isDone = false
    const compiling = said(
      its.compile(encodeModel(model)).finally(() => {
        isDone = true
      }),
    )
    for (let turn = 0; turn < turns; turn++) await null
    if (!isDone) meanwhile.push(compiling)
    await its.dispose()
  }
  const runtimes = [training, ...later, ...(await Promise.all(meanwhile))]
  return { trainer, runtimes: [...new Set(runtimes)], end: await said(second.dispose()) }
}
