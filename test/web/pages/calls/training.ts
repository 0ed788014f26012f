import {
  accuracy,
  adamw,
  arrays,
  crossEntropy,
  type Data,
  encodeModel,
  images,
  ire,
  labels,
  type Measures,
  type Optimizer,
  type Runtime,
  Trainer,
  type TrainerOptions,
} from 'onnx-ire'
import {
  checkpointFolder,
  loadModel,
  readIdx,
  removeStored,
  saveModel,
  storedFile,
  storeFile,
  wasm,
  webgpu,
} from 'onnx-ire/web'
import { put } from '../exchange.js'

export type Where = 'wasm' | 'webgpu'

/** What is trained: files of the exchange, and how. */
export interface Task {
  readonly model: string
  readonly pixels: string
  readonly labels: string
  readonly size: number
  readonly classes?: number
  readonly batchSize: number
  readonly lr: number
  readonly ire?: boolean
  readonly steps: number
}

export const start = (where: Where): Promise<Runtime> => (where === 'wasm' ? wasm({ threads: 1 }) : webgpu())

export async function dataOf({ pixels, labels: classes, size }: Task): Promise<Data> {
  const [x, label] = await Promise.all([readIdx(`/exchange/${pixels}`), readIdx(`/exchange/${classes}`)])
  return arrays({ x: images(x, { size, channels: 1, mean: 0.5, std: 0.5 }), labels: labels(label) })
}

export function optionsOf(task: Task, runtime: Runtime): TrainerOptions {
  const base = adamw({ lr: task.lr })
  const optimizer: Optimizer = task.ire ? ire(base, { kappa: 2, gamma: 0.6, interval: 5, warmup: 5 }) : base
  return {
    loss: crossEntropy(),
    metrics: [accuracy()],
    optimizer,
    runtime,
    batchSize: task.batchSize,
    seed: 3,
    ...(task.classes ? { head: { classes: task.classes, seed: 5 } } : {}),
  }
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
  const trainer = await Trainer.create(await loadModel(`/exchange/${task.model}`), optionsOf(task, runtime))
  const before = await trainer.evaluate(data)
  const losses: number[] = []
  for await (const _ of trainer.fit(data, { steps: task.steps, onStep: ({ loss }) => void losses.push(loss) }));
  const after = await trainer.evaluate(data)
  await saveModel(trainer.export(), 'tuned.onnx')
  await put('tuned', new Uint8Array(await (await storedFile('tuned.onnx')).arrayBuffer()))
  await trainer.dispose()
  await runtime.dispose()
  return { losses, before, after, description: runtime.description }
}

/**
 * Trains to `until`, with a checkpoint every few steps in the origin's own file system, going on from there if there is
 * one; hands over the model as `name`.
 */
export async function goOn(where: Where, task: Task, until: number, name: string, fresh: boolean) {
  if (fresh) await removeStored('runs/resumed')
  const store = checkpointFolder('runs/resumed', { keep: 2 })
  const runtime = await start(where)
  const data = await dataOf(task)
  const trainer = await Trainer.create(await loadModel(`/exchange/${task.model}`), optionsOf(task, runtime))
  const resumed = await trainer.resume(store)
  const losses: number[] = []
  for await (const _ of trainer.fit(data, {
    steps: task.steps,
    checkpoints: { store, everySteps: 5 },
    onStep: ({ loss }) => {
      losses.push(loss)
      return trainer.step >= until ? 'stop' : undefined
    },
  }));
  await put(name, encodeModel(trainer.export()) as Uint8Array<ArrayBuffer>)
  await trainer.dispose()
  await runtime.dispose()
  return {
    losses,
    steps: await store.steps(),
    resumed: resumed && { step: resumed.step, skipped: resumed.skipped.map(({ step, error }) => [step, error.code]) },
  }
}

/** Flips a bit in the middle of a stored file. */
export async function damage(path: string) {
  const bytes = new Uint8Array(await (await storedFile(path)).arrayBuffer())
  bytes[bytes.length >> 1]! ^= 1
  await storeFile(path, bytes)
}
