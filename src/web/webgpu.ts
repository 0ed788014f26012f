import { OnnxIreError } from '../errors.js'
import { checkNames, invalidOption } from '../optim/option.js'
import type { Device } from '../runtime/device.js'
import type { Program, Runtime } from '../runtime/runtime.js'
import { openDevice } from './adapter.js'
import { DeviceLife } from './device-life.js'
import { allocate, type InferenceSession, loaded, type Ort, startProvider, type WasmSettings } from './ort.js'
import { Turns } from './turns.js'
import { WebGpuSessions } from './webgpu-sessions.js'

/** Options of `webgpu`; every one may be left out. */
export interface WebGpuOptions extends WasmSettings {
  /** Which GPU to ask for where there are several. Default: the browser's choice. */
  readonly powerPreference?: 'low-power' | 'high-performance' | undefined
  /** How far onnxruntime rewrites the graph. Default 'all'. */
  readonly graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all' | undefined
  /**
   * What becomes of nodes that the GPU has no kernel for: 'allowed' (default) runs them on the processor, which takes copies
   * there and back; 'refused' makes `compile` throw.
   */
  readonly cpuNodes?: 'allowed' | 'refused' | undefined
  /** What is to run instead where WebGPU cannot start, such as `wasm`. Default: nothing, it is an error. */
  readonly fallback?: (() => Promise<Runtime>) | undefined
}

/** A runtime on a WebGPU device of its own. */
export interface WebGpuRuntime extends Runtime {
  readonly device: Device & Required<Pick<Device, 'renew'>>
  /** The device it runs on, made with all limits and features of its adapter; another one after `device.renew()`. */
  readonly gpu: GPUDevice
  /** Resolves when that device is lost, with the error that all that is asked of it then fails with. */
  readonly lost: Promise<OnnxIreError>
}

const optionNames = ['wasmPaths', 'threads', 'powerPreference', 'graphOptimizationLevel', 'cpuNodes', 'fallback']

/** onnxruntime hangs when it is entered while it is inside, by whatever session. */
const turns = new Turns()

/**
 * onnxruntime-web's WebGPU provider, on a device of our own. When that is lost all that is pending, and all that is asked
 * of it later, fails with `device-lost`, until `device.renew()` has made another one.
 *
 * Throws `invalid-option`, and `runtime` saying why it cannot start. With a `fallback` that runs instead, and its
 * `description` says so.
 */
export function webgpu(options?: Omit<WebGpuOptions, 'fallback'>): Promise<WebGpuRuntime>
export function webgpu(options: WebGpuOptions): Promise<Runtime>
export async function webgpu(options: WebGpuOptions = {}): Promise<Runtime> {
  checkNames('webgpu', options, optionNames)
  const { cpuNodes = 'allowed' } = options
  if (cpuNodes !== 'allowed' && cpuNodes !== 'refused')
    throw invalidOption('webgpu', 'cpuNodes', cpuNodes, "'allowed' or 'refused'")
  try {
    return await start(options)
  } catch (cause) {
    if (!options.fallback || !(cause instanceof OnnxIreError) || cause.code !== 'runtime') throw cause
    return described(await options.fallback(), cause.message)
  }
}

const described = (runtime: Runtime, why: string): Runtime => ({
  description: `${runtime.description}; ${why}`,
  provider: runtime.provider,
  ...(runtime.device ? { device: runtime.device } : {}),
  compile: (model) => runtime.compile(model),
  allocate: (dtype, length) => runtime.allocate(dtype, length),
  dispose: () => runtime.dispose(),
})

/** What goes with a device when it is lost. */
interface Opened {
  readonly life: DeviceLife
  readonly sessions: WebGpuSessions
}

async function start(options: WebGpuOptions): Promise<WebGpuRuntime> {
  // The device first: without one there is no need to load 27 MB.
  const gpu = await openDevice(options.powerPreference)
  let ort: Ort
  try {
    ort = await loaded(
      'onnxruntime-web/webgpu',
      () => import('onnxruntime-web/webgpu'),
      { ...options, threads: options.threads ?? 1 },
      {
        wasm: new URL('onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm', import.meta.url),
        mjs: new URL('onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs', import.meta.url),
      },
    )
  } catch (error) {
    gpu.destroy()
    throw error
  }
  const opened = await started(ort, gpu, options)
  const { vendor, architecture, description } = gpu.adapterInfo
  const name = [vendor, architecture, description].filter(Boolean).join(' ')
  return new WebGpu(`onnxruntime-web ${ort.env.versions.web}, webgpu${name && ` on ${name}`}`, opened, async () =>
    started(ort, await openDevice(options.powerPreference), options),
  )
}

async function started(ort: Ort, gpu: GPUDevice, options: WebGpuOptions): Promise<Opened> {
  const sessionOptions: InferenceSession.SessionOptions = {
    logSeverityLevel: 3,
    graphOptimizationLevel: options.graphOptimizationLevel ?? 'all',
    executionProviders: [{ name: 'webgpu', device: gpu as never }],
    ...(options.cpuNodes === 'refused' ? { extra: { session: { disable_cpu_ep_fallback: '1' } } } : {}),
  }
  const life = new DeviceLife(gpu, turns)
  try {
    await life.inTurn(() => startProvider(ort, 'WebGPU provider', sessionOptions))
  } catch (error) {
    life.end()
    throw error
  }
  return { life, sessions: new WebGpuSessions(ort, life, sessionOptions) }
}

class WebGpu implements WebGpuRuntime {
  readonly description: string
  readonly provider = 'webgpu'
  readonly allocate = allocate
  readonly device: WebGpuRuntime['device']
  #opened: Opened
  #disposed: Promise<void> | undefined

  constructor(description: string, opened: Opened, open: () => Promise<Opened>) {
    this.description = description
    this.#opened = opened
    this.device = {
      compile: (model, keeps) => this.#opened.sessions.compile(model, keeps),
      upload: (tensor) => this.#opened.sessions.upload(tensor),
      download: (tensor) => this.#opened.sessions.download(tensor),
      reside: async (spec) => {
        const { webGpuResidence } = await import('./webgpu-residence/residence.js')
        return webGpuResidence(this.#opened.life, spec)
      },
      renew: async () => {
        if (this.#disposed) throw new OnnxIreError('runtime', 'this runtime was disposed')
        await ended(this.#opened)
        this.#opened = await open()
      },
    }
  }

  get gpu(): GPUDevice {
    return this.#opened.life.gpu
  }

  get lost(): Promise<OnnxIreError> {
    return this.#opened.life.lost
  }

  async compile(model: Uint8Array): Promise<Program> {
    const { run, ...program } = await this.device.compile(model, () => false)
    return { ...program, run: async (feeds) => (await run(feeds)).host }
  }

  dispose(): Promise<void> {
    this.#disposed ??= ended(this.#opened)
    return this.#disposed
  }
}

async function ended({ life, sessions }: Opened): Promise<void> {
  await sessions.close()
  life.end()
}
