import { adamw, crossEntropy, type Dataset, encodeModel, type Model, type Runtime, Trainer } from 'onnx-ire'
import { subset } from 'onnx-ire/data'
import { storage, wasm, webgpu } from 'onnx-ire/web'
import { type Form, type ProviderName, providers, type Settings, type WorkerEvent } from '../protocol.js'

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
  readonly train: Dataset
  readonly signal: AbortSignal
}

/** Milliseconds of a step on each runtime that was timed. */
type Timings = Partial<Record<ProviderName, number>>

/** Seconds of a run on WebAssembly below which WebGPU is not timed: it takes as long to load and start. */
const shortRun = 5

/** File of the timings in the storage of this browser, and their largest number. */
const store = { path: 'playground-timings.json', limit: 50 } as const

/**
 * Chooses the runtime of a training run. If it is chosen automatically, a step of the model is timed on WebAssembly,
 * and on WebGPU if the run takes more than seconds and there is a graphics card. The timings are stored by model and
 * device.
 */
export async function chooseProvider(run: PlannedRun, tell: (event: WorkerEvent) => void): Promise<ProviderChoice> {
  const { settings, train } = run
  if (settings.provider !== 'auto') return { provider: settings.provider, reason: null }
  const onCpu = (reason: string | null): ProviderChoice => ({ provider: 'wasm', reason })
  if (settings.layers === 'head')
    return onCpu('only the last layer is trained, and its steps are too small for a graphics card')
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null)
  if (!adapter) return onCpu('this browser offers no graphics card to web pages')
  if (isEmulated(adapter)) return onCpu('the processor emulates the graphics card here')
  const key = await describeRun(run, adapter)
  const timings: Timings = { ...(await readTimings())[key] }
  const time = async (provider: ProviderName): Promise<number | null> => {
    if (timings[provider] !== undefined) return timings[provider]
    tell({ kind: 'timing', provider })
    const milliseconds = await timeStep(provider === 'wasm' ? await wasm() : await webgpu(), run)
    if (milliseconds !== null) {
      timings[provider] = milliseconds
      await writeTimings(key, timings)
    }
    return milliseconds
  }
  const cpu = await time('wasm')
  if (cpu === null) return onCpu(null)
  const steps = 2 * settings.epochs * Math.ceil(train.length / settings.batchSize)
  const seconds = (steps * cpu) / 1000
  if (seconds < shortRun)
    return onCpu(`the run takes about ${Math.ceil(seconds)} s on it, and a graphics card takes as long to start`)
  let gpu: number | null
  try {
    gpu = await time('webgpu')
  } catch (error) {
    return onCpu(`WebGPU cannot train this model here: ${(error as Error).message}`)
  }
  if (gpu === null) return onCpu(null)
  const [provider, other] = gpu < cpu ? (['webgpu', 'wasm'] as const) : (['wasm', 'webgpu'] as const)
  const reason = `a step takes ${timeText(timings[provider]!)} on it, and ${timeText(timings[other]!)} on ${providers[other]}`
  return { provider, reason }
}

/** Whether the processor emulates the graphics card, which is slower than WebAssembly. */
const isEmulated = ({ info }: GPUAdapter): boolean => info.isFallbackAdapter || info.architecture === 'swiftshader'

/** Milliseconds of a training step, after one that warms up; null if training is stopped meanwhile. */
async function timeStep(runtime: Runtime, { model, settings, train, signal }: PlannedRun): Promise<number | null> {
  const { batchSize, lr, weightDecay, seed } = settings
  try {
    const optimizer = adamw({ lr, weightDecay })
    const trainer = await Trainer.create(model, { loss: crossEntropy(), runtime, batchSize, seed, optimizer })
    try {
      const batch = subset(train, { end: Math.min(batchSize, train.length) })
      const ends: number[] = []
      const onStep = () => void ends.push(performance.now())
      await trainer.train(batch, { totalSteps: 2, evaluateEvery: 2, signal, onStep })
      const [first, second] = ends
      return second === undefined ? null : second - first!
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
    [form.size, settings.batchSize, model === original],
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

const timeText = (milliseconds: number): string =>
  `${milliseconds < 10 ? milliseconds.toPrecision(2) : Math.round(milliseconds)} ms`
