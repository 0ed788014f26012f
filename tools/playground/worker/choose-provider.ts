import {
  adamw,
  crossEntropy,
  type Dataset,
  type DatasetSplit,
  encodeModel,
  type Model,
  type Runtime,
  Trainer,
} from 'onnx-ire'
import { subset } from 'onnx-ire/data'
import { storage, wasm, webgpu } from 'onnx-ire/web'
import type { Form, ProviderName, Settings, WorkerEvent } from '../protocol.js'
import { frozenLayers } from './contender.js'

/** A runtime, and the reason for the choice; null if a person made it. */
export interface ProviderChoice {
  readonly provider: ProviderName
  readonly reason: string | null
}

/** The training run that a runtime is chosen for. */
interface PlannedRun {
  readonly settings: Settings
  /** The model of the file, which identifies the timings. */
  readonly original: Model
  /** The model that is trained. */
  readonly model: Model
  readonly form: Form
  readonly parts: DatasetSplit
  readonly signal: AbortSignal
}

/** Milliseconds of a training step on a runtime, and of a batch of the frozen layers whose results are stored. */
interface Timing {
  readonly step: number
  readonly batch: number
}

/** Timings of a run on the runtimes that were tried. */
type Timings = Partial<Record<ProviderName, Timing>>

/** Seconds of a run on WebAssembly below which WebGPU is not tried: it takes as long to load and start. */
const shortRun = 10

/** File of the timings in the storage of this browser, and the number of runs that it has, at most. */
const store = { path: 'playground-timings.json', limit: 50 } as const

/**
 * Chooses the runtime of a training run. If it is chosen automatically, and there is a graphics card, a step is timed
 * on WebAssembly, and on WebGPU if the run is not over in seconds. The timings are stored by model and device.
 */
export async function chooseProvider(run: PlannedRun, tell: (event: WorkerEvent) => void): Promise<ProviderChoice> {
  const { provider } = run.settings
  if (provider !== 'auto') return { provider, reason: null }
  const onCpu = (reason: string | null): ProviderChoice => ({ provider: 'wasm', reason })
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null)
  if (!adapter) return onCpu('this browser offers no graphics card to web pages')
  if (isEmulated(adapter)) return onCpu('the processor emulates the graphics card here')
  const key = await describeRun(run, adapter)
  const timings: Timings = { ...(await readTimings())[key] }
  /** Seconds of the run; null if it is stopped meanwhile. */
  const estimate = async (name: ProviderName): Promise<number | null> => {
    let timing = timings[name] ?? null
    if (!timing) {
      tell({ kind: 'timing', provider: name })
      timing = await timeStep(name === 'wasm' ? await wasm() : await webgpu(), run)
      if (timing) await writeTimings(key, { ...timings, [name]: timing })
    }
    if (timing) timings[name] = timing
    return timing && secondsOf(run, timing)
  }
  let cpu: number | null
  try {
    cpu = await estimate('wasm')
  } catch (error) {
    const gpu = await estimate('webgpu').catch(() => {
      throw error
    })
    if (gpu === null) return onCpu(null)
    return { provider: 'webgpu', reason: `WebAssembly cannot train this model here: ${(error as Error).message}` }
  }
  if (cpu === null) return onCpu(null)
  const timed = 'by the time of a step, the run takes about'
  if (cpu < shortRun) return onCpu(`${timed} ${timeText(cpu)}, and a graphics card as long to start`)
  let gpu: number | null
  try {
    gpu = await estimate('webgpu')
  } catch (error) {
    return onCpu(`WebGPU cannot train this model here: ${(error as Error).message}`)
  }
  if (gpu === null) return onCpu(null)
  return gpu < cpu
    ? { provider: 'webgpu', reason: `${timed} ${timeText(gpu)}, and ${timeText(cpu)} on WebAssembly` }
    : onCpu(`${timed} ${timeText(cpu)}, and ${timeText(gpu)} on WebGPU`)
}

/** Whether the processor emulates the graphics card, which is slower than WebAssembly. */
const isEmulated = ({ info }: GPUAdapter): boolean => info.isFallbackAdapter || info.architecture === 'swiftshader'

/** Estimates the seconds of a run: the steps of both contenders, and the batches of the frozen layers once. */
function secondsOf({ settings, parts }: PlannedRun, { step, batch }: Timing): number {
  const batchesOf = ({ length }: Dataset) => Math.ceil(length / settings.batchSize)
  const steps = 2 * settings.epochs * batchesOf(parts.train)
  return (steps * step + (batchesOf(parts.train) + batchesOf(parts.validation)) * batch) / 1000
}

/** Times the second of two steps, and of two batches of the frozen layers; null if training is stopped meanwhile. */
async function timeStep(runtime: Runtime, { model, settings, parts, signal }: PlannedRun): Promise<Timing | null> {
  const { batchSize, lr, weightDecay, seed, layers } = settings
  const { train } = parts
  try {
    const optimizer = adamw({ lr, weightDecay })
    const options = { loss: crossEntropy(), runtime, batchSize, seed, optimizer, ...frozenLayers(layers) }
    const trainer = await Trainer.create(model, options)
    try {
      const examples = Uint32Array.from({ length: 2 * batchSize }, (_, i) => i % train.length)
      const [steps, batches]: [number[], number[]] = [[], []]
      await trainer.train(subset(train, examples), {
        totalSteps: 2,
        evaluateEvery: 2,
        signal,
        onStep: () => void steps.push(performance.now()),
        onFeatures: () => void batches.push(performance.now()),
      })
      const last = ([first, second]: readonly number[]) => (second === undefined ? 0 : second - first!)
      return steps.length < 2 ? null : { step: last(steps), batch: last(batches) }
    } finally {
      await trainer.dispose()
    }
  } finally {
    await runtime.dispose()
  }
}

/** A text that is the same for runs whose steps take the same time: the model, its input and the device. */
async function describeRun({ original, model, form, settings }: PlannedRun, { info }: GPUAdapter): Promise<string> {
  const bytes = encodeModel(original) as Uint8Array<ArrayBuffer>
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  const { vendor, architecture, device, description } = info
  return JSON.stringify([
    Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join(''),
    [form.size, settings.batchSize, settings.layers, model === original],
    [vendor, architecture, device, description, navigator.hardwareConcurrency, crossOriginIsolated],
  ])
}

/** Reads the timings by the texts of `describeRun`; none if the browser does not store them. */
async function readTimings(): Promise<Readonly<Record<string, Timings>>> {
  try {
    return JSON.parse(await (await storage.read(store.path)).text())
  } catch {
    return {}
  }
}

async function writeTimings(key: string, timings: Timings): Promise<void> {
  const others = Object.entries(await readTimings()).filter(([other]) => other !== key)
  const kept = Object.fromEntries([...others.slice(1 - store.limit), [key, timings]])
  // Without storage the next run times its steps again.
  await storage.write(store.path, new TextEncoder().encode(JSON.stringify(kept))).catch(() => {})
}

function timeText(seconds: number): string {
  if (seconds < 100) return `${Math.max(1, Math.round(seconds))} s`
  return `${Math.round(seconds / 60)} min`
}
